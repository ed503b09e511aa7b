"""Checkpoints and weights of a mesh: the files of one rank, read by any other mesh of the job."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.comm.channel import Channel
from mpitrain.comm.mesh import Mesh
from mpitrain.config import Config
from mpitrain.errors import AgreedError, UserError
from mpitrain.parallel.make_sync import make_gradient_sync
from mpitrain.training.checkpoint import Checkpoint, Writer, folder
from mpitrain.training.checkpoint.parts import STATES_OF_RANK
from mpitrain.training.directory.run_directory import BEST, LAST, RunDirectory
from mpitrain.training.hooks.recorder import Recorder
from mpitrain.training.results import EpochResult
from mpitrain.training.step_timer import Times
from mpitrain.training.weights import gather_tensors, load_weights, save_weights
from tests.gpu.device import ShimDevice
from tests.stages import MODELS, assert_filled, blank, cut, filled, numbers, stage_arena

pytestmark = pytest.mark.mpi

SYNCS = {"whole update": ("ring", "none"), "zero1": ("ring", "optimizer"), "zero1 shared": ("auto", "auto")}


def pipes(world):
    """Return every number of stages that the job can have."""
    return [size for size in range(1, world.size + 1) if world.size % size == 0]


def num_units(name):
    return len(MODELS[name]().units())


class Rank:
    """A rank of a mesh with the arena of its stage, the same cuts on all ranks."""

    def __init__(self, world, name, pipe, seed, sync="whole update"):
        self.mesh = Mesh(world, {"pipe": pipe})
        self.data, self.pipe = self.mesh["data"], self.mesh["pipe"]
        rng = np.random.default_rng([seed, pipe])
        self.chunks = cut(num_units(name), pipe, int(rng.integers(1, 3)), rng)[self.pipe.rank]
        self.arena = stage_arena(name, self.chunks, seed=1)
        self.sync = make_gradient_sync(self.arena, self.data, *SYNCS[sync], 2048)
        self.row = self.data.rank, self.data.size


def write(world, path, state, **options):
    writer = Writer(world, path, state, **options)
    writer.begin(5, {"step": 5})
    writer.close()
    world.barrier()
    return folder.path_of_step(path, 5)


def path_of_one(alone, world, path, name, optimizer):
    """Return the file that one rank writes."""
    if world.rank == 0:
        write(alone, path / "one", filled(Arena(MODELS[name]()), optimizer))
    world.barrier()
    return folder.path_of_step(path / "one", 5)


@pytest.mark.parametrize("sync", SYNCS)
@pytest.mark.parametrize(
    ("name", "optimizer", "seed"), [("resnet8", "adamw", 1), ("tied", "sgd", 2), ("tied", "adamw", 3)]
)
def test_any_mesh_resumes_from_any_mesh(world, alone, directory, name, optimizer, seed, sync):
    one = path_of_one(alone, world, directory, name, optimizer)
    files = [one]
    for pipe in pipes(world):
        rank = Rank(world, name, pipe, seed, sync)
        state = filled(rank.arena, optimizer, rank.sync.own)
        path = write(world, directory / f"pipe {pipe}", state, group=rank.data, slices=rank.sync.own)
        assert path.read_bytes() == one.read_bytes(), (pipe, rank.chunks)
        files.append(path)
        rank.sync.free()
    for pipe in pipes(world):
        rank = Rank(world, name, pipe, seed + 10, sync)
        for path in files:
            checkpoint = Checkpoint(path)
            checkpoint.verify(world.rank, world.size)
            state = blank(rank.arena, optimizer)
            rank.data.barrier()  # where the weights are in memory of all
            checkpoint.load(state, rank.sync.own, row=rank.row)
            rank.data.barrier()
            assert_filled(state, rank.sync.own)
            rank.data.barrier()
        rank.sync.free()
    state = blank(Arena(MODELS[name]()), optimizer)
    Checkpoint(files[-1]).load(state)
    assert_filled(state, None)


@pytest.mark.parametrize("name", ["resnet8", "tied"])
def test_each_data_rank_gets_its_own_states_back_in_every_stage(world, directory, name):
    for pipe in pipes(world):
        rank = Rank(world, name, pipe, 4)
        state = filled(rank.arena, "sgd", rank=rank.data.rank)
        path = write(world, directory / f"pipe {pipe}", state, group=rank.data, own_states=True)
        checkpoint = Checkpoint(path)
        checkpoint.verify()
        assert checkpoint.tensors[STATES_OF_RANK].shape == (rank.data.size, rank.arena.whole.num_states)
        again = Rank(world, name, pipe, 5)
        state = blank(again.arena, "sgd")
        checkpoint.load(state, row=again.row)
        assert_filled(state, None, again.data.rank)


def test_a_tensor_that_no_stage_has_is_named(world, directory):
    """A hole in the file would be found when it is read: too late."""
    if world.size == 1:
        pytest.skip("one rank has all")
    mesh = Mesh(world, {"pipe": world.size})
    chunks = [(0, 4)] if mesh["pipe"].rank == 0 else [(5, 7)]
    writer = Writer(world, directory, filled(stage_arena("resnet8", chunks), "sgd"), group=mesh["data"])
    with pytest.raises(ValueError, match=r"^no rank has the tensor 4\.\w.* of the model$"):
        writer.begin(5, {})


def test_damage_is_named_on_all_ranks(world, directory):
    pipe = pipes(world)[-1]
    rank = Rank(world, "resnet8", pipe, 6)
    path = write(world, directory, filled(rank.arena, "sgd"), group=rank.data)
    name = world.all_gather([p.name for p in rank.arena.parameters])
    last = next(names[-1] for names in reversed(name) if names)
    if world.rank == 0:
        data, tensors = bytearray(path.read_bytes()), Checkpoint(path).tensors
        data[len(data) - max(t.end for t in tensors.values()) + tensors[last].begin] ^= 1
        path.write_bytes(data)
    world.barrier()
    with pytest.raises(UserError, match=f"is damaged: the checksum of {last} is wrong"):
        Checkpoint(path).verify()
    world.barrier()
    if world.rank == 0:
        path.write_bytes(path.read_bytes()[:-5])
    world.barrier()
    with pytest.raises(UserError, match="is cut off: it holds"):
        Checkpoint(path)


@pytest.mark.parametrize(("name", "seed"), [("resnet8", 1), ("tied", 2), ("tied", 3), ("mlp", 4)])
def test_the_weights_of_a_mesh_are_gathered_on_rank_0(world, directory, name, seed):
    whole = filled(Arena(MODELS[name]()), "sgd").arena
    for pipe in pipes(world):
        rank = Rank(world, name, pipe, seed)
        if rank.data.rank:
            continue  # these ranks have nothing that the others lack, and take no part
        tensors = gather_tensors(filled(rank.arena, "sgd").arena, Channel(rank.pipe))
        assert (tensors is None) == (rank.pipe.rank > 0)
        if tensors is not None:
            assert world.rank == 0
            save_weights(directory / "one", gather_tensors(whole), {"a": 1})
            save_weights(directory / f"pipe {pipe}", tensors, {"a": 1})
            assert (directory / f"pipe {pipe}").read_bytes() == (directory / "one").read_bytes(), rank.chunks
    world.barrier()


def test_weights_are_gathered_from_devices(world):
    mesh, device, name = Mesh(world, {"pipe": world.size}), ShimDevice(), "mlp"
    channel = Channel(mesh["pipe"])
    chunks = cut(num_units(name), world.size, 1, np.random.default_rng(5))[mesh["pipe"].rank]
    for _ in range(2):  # on the same channel, as each evaluation does
        tensors = gather_tensors(stage_arena(name, chunks, device=device), channel)
        if world.rank == 0:
            for tensor, value in Arena(MODELS[name]()).named_tensors().items():
                assert type(tensors[tensor]) is np.ndarray
                np.testing.assert_array_equal(tensors[tensor], value)
    channel.free()


class Results(dict):
    best = 1


def record(world, rank, directory):
    """Call the hook at the end of the last epoch."""
    result = EpochResult(1, 5, 0.1, {"loss": 1.0}, {"loss": 2.0}, 10.0, 1.0, Times(1, 1, 1, 1))
    setup = SimpleNamespace(metadata=lambda config: {"model": "resnet8"})
    sync = SimpleNamespace(whole_weights=lambda here: nullcontext())
    run = SimpleNamespace(
        world=world, data_parallel=sync, is_last=True, config=None, setup=setup, results=Results({1: result})
    )
    hook = Recorder(directory, Channel(rank.pipe) if rank.data.rank == 0 else None)
    hook.evaluate_end(SimpleNamespace(run=run, arena=rank.arena, result=result))


def test_the_recorder_writes_the_weights_of_all_stages(world, directory):
    for pipe in pipes(world):
        rank, path = Rank(world, "resnet8", pipe, 7), directory / f"pipe {pipe}"
        filled(rank.arena, "sgd")
        files = RunDirectory(path, Config()) if world.rank == 0 else None
        record(world, rank, files)
        for file in (LAST, BEST):
            state = blank(Arena(MODELS["resnet8"]()), "sgd")
            load_weights(path / file, state.arena)
            for name, found in state.arena.named_tensors().items():
                np.testing.assert_array_equal(found, numbers(name, found.size).reshape(found.shape), name)
        world.barrier()
        if files is not None:
            (path / LAST).unlink()
            (path / LAST).mkdir()  # nothing can be written there
        world.barrier()
        with pytest.raises(AgreedError, match=r"cannot write .*--resume"):  # on the ranks of all stages
            record(world, rank, files)
        if files is not None:
            files.close()
