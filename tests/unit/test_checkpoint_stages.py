"""Checkpoints of stages: the file of the whole model, read again by any other stages."""

import hashlib

import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.errors import UserError
from mpitrain.json_text import to_json
from mpitrain.layers import Linear, Sequential
from mpitrain.model_table import ModelTable
from mpitrain.models import build
from mpitrain.optim import AdamW
from mpitrain.training.checkpoint import Checkpoint, State
from mpitrain.training.checkpoint.layout import make_header
from mpitrain.training.checkpoint.parts import STATES_OF_RANK, Part
from mpitrain.training.checkpoint.state import held
from mpitrain.training.checkpoint.writer import _joined
from mpitrain.training.weights import check_weights, gather_tensors, load_weights, save_weights
from tests.stages import MODELS, OPTIMIZERS, assert_filled, blank, cut, filled, numbers, stage_arena


def contents(parts, metadata=None):
    """Return the file that ``parts`` make together, each byte written once."""
    tensors = parts[0].tensors
    data = np.zeros(tensors[-1].end, np.uint8)
    times = np.zeros(data.size, int)
    for part in parts:
        assert part.tensors == tensors
        part.copy()
        for offset, stretch in part.stretches():
            data[offset : offset + stretch.size] = stretch
            times[offset : offset + stretch.size] += 1
    np.testing.assert_array_equal(times, 1)
    sums = _joined([checksum for part in parts for checksum in part.checksums()])
    return make_header(tensors, to_json(metadata or {}), sums) + data.tobytes()


def random_slices(arena, count, rng):
    """Return the slices of ``count`` ranks that together are the arena."""
    places = sorted(rng.integers(0, arena.size + 1, 3 * count).tolist())
    owners = rng.integers(0, count, len(places) + 1)
    bounds = list(zip([0, *places], [*places, arena.size], owners, strict=True))
    return [tuple(slice(a, b) for a, b, owner in bounds if owner == rank) for rank in range(count)]


def mesh_states(name, optimizer, num_data, stages, rng, own_states=False):
    """Yield (state, slices, data rank, names that an earlier stage holds) of each rank of a mesh."""
    for number, chunks in enumerate(stages):
        earlier = [[held(t) for t in stage_arena(name, before).tensors] for before in stages[:number]]
        slices = random_slices(stage_arena(name, chunks), num_data, rng)
        for rank in range(num_data):
            state = filled(stage_arena(name, chunks), optimizer, slices[rank], rank if own_states else 0)
            yield state, slices[rank], rank, frozenset().union(*earlier)


def written(name, optimizer, num_data, stages, rng, own_states=False):
    rows = num_data if own_states else 0
    ranks = mesh_states(name, optimizer, num_data, stages, rng, own_states)
    return contents([Part(state, slices, rank, rows, left_out) for state, slices, rank, left_out in ranks])


def whole(name):
    return [[(0, len(MODELS[name]().units()))]]


def random_mesh(name, rng):
    """Return the number of data ranks, and the chunks of each stage."""
    num_data, num_stages, num_chunks = (int(n) for n in rng.integers((1, 1, 1), (4, 5, 4)))
    return num_data, cut(len(MODELS[name]().units()), num_stages, num_chunks, rng)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_written_on_any_mesh_and_read_on_any_other(tmp_path, name, optimizer, seed):
    rng = np.random.default_rng(seed)
    num_data, stages = random_mesh(name, rng)
    data = written(name, optimizer, num_data, stages, rng)
    assert data == written(name, optimizer, 1, whole(name), rng), (num_data, stages)
    path = tmp_path / "step-000000001.safetensors"
    path.write_bytes(data)
    checkpoint = Checkpoint(path)
    checkpoint.verify()
    for num_data, stages in (random_mesh(name, rng), (1, whole(name))):
        for chunks in stages:
            for rank, slices in enumerate(random_slices(stage_arena(name, chunks), num_data, rng)):
                state = blank(stage_arena(name, chunks), optimizer)
                checkpoint.load(state, slices, row=(rank, num_data))
                assert_filled(state, slices)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", ["resnet8", "tied"])
def test_each_data_rank_has_states_of_its_own_in_every_stage(tmp_path, name, seed):
    rng = np.random.default_rng(seed)
    num_data, stages = random_mesh(name, rng)
    data = written(name, "sgd", num_data, stages, rng, own_states=True)
    assert data == written(name, "sgd", num_data, whole(name), rng, own_states=True), (num_data, stages)
    path = tmp_path / "step-000000001.safetensors"
    path.write_bytes(data)
    checkpoint = Checkpoint(path)
    checkpoint.verify()
    table = ModelTable.of(MODELS[name]())
    assert checkpoint.tensors[STATES_OF_RANK].shape == (num_data, table.num_states)
    for chunks in random_mesh(name, rng)[1]:
        for rank in range(num_data):
            state = blank(stage_arena(name, chunks), "sgd")
            checkpoint.load(state, row=(rank, num_data))
            assert_filled(state, None, rank)
        checkpoint.load(state, row=(0, num_data + 1))  # other ranks: all get the mean
        for s in state.arena.state_list:
            rows = np.stack([numbers(s.name, s.size, rank) for rank in range(num_data)])
            np.testing.assert_array_equal(s.data, rows.mean(axis=0), s.name)


@pytest.mark.parametrize(
    ("rows", "digest"), [(0, "efe53e5b4bd3ad0e2a18501c030cf39c"), (3, "0dce584b5577305f7ddfbca0c1725aa8")]
)
def test_the_whole_model_makes_the_file_of_the_versions_before_meshes(rows, digest):
    arena = Arena(build("resnet8", (8, 8, 3), 4), seed=1)
    state = State(arena, AdamW(arena))
    for number, flat in enumerate(state.buffers().values(), 1):
        for p in arena.parameters:
            flat[p.start : p.stop] = np.arange(p.size) + number * (p.index + 1)
    arena.states[:] = np.arange(arena.states.size)
    slices = [slice(0, 1000), slice(1000, 5000), slice(5000, arena.size)]
    data = contents([Part(state, (part,), rank, rows) for rank, part in enumerate(slices)], {"step": 7})
    assert hashlib.blake2b(data, digest_size=16).hexdigest() == digest


@pytest.mark.parametrize("name", MODELS)
def test_the_table_of_a_model_is_that_of_its_arena(name):
    model = MODELS[name]()
    table = ModelTable.of(model)
    arena = Arena(model)
    assert arena.whole == table
    assert [(entry.name, entry.shape) for entry in table.parameters] == [(p.name, p.shape) for p in arena.parameters]
    assert [(entry.name, entry.shape) for entry in table] == [(n, x.shape) for n, x in arena.named_tensors().items()]
    assert table.num_states == arena.states.size
    assert stage_arena(name, [(0, 2)]).whole == table


def test_a_weight_of_two_stages_has_the_name_and_the_first_values_of_the_whole():
    model = MODELS["tied"]()
    table, arena = ModelTable.of(model), Arena(model, seed=3)
    assert table.first_names["3.weight"] == "0.weight"
    assert "3.weight" not in [entry.name for entry in table]
    last = stage_arena("tied", [(len(model.units()) - 3, len(model.units()))], seed=3).named_tensors()
    assert "0.weight" in last
    for tensor in last:
        np.testing.assert_array_equal(last[tensor], arena.named_tensors()[tensor], tensor)


def test_a_part_of_another_model_is_refused():
    with pytest.raises(ValueError, match=r"the whole model has no tensor 1\.weight of shape \(4, 2\)"):
        Arena(Sequential(Linear(3, 4), Linear(4, 2)), whole=ModelTable.of(Sequential(Linear(3, 4))))
    with pytest.raises(ValueError, match=r"the whole model has no tensor 0\.weight of shape \(3, 5\)"):
        Arena(Sequential(Linear(3, 5)), whole=ModelTable.of(Sequential(Linear(3, 4))))


@pytest.fixture
def file(tmp_path):
    """A checkpoint of the stages of a ResNet."""
    rng = np.random.default_rng(0)
    path = tmp_path / "step-000000001.safetensors"
    path.write_bytes(written("resnet8", "sgd", 2, [[(0, 4)], [(4, 8)]], rng))
    return path


@pytest.mark.parametrize("number", [0, 1])
def test_damage_of_another_stage_is_named(file, number):
    whole_file, tensors = file.read_bytes(), Checkpoint(file).tensors
    begin = len(whole_file) - max(t.end for t in tensors.values())
    names = [p.name for p in stage_arena("resnet8", [[(0, 4)], [(4, 8)]][number]).parameters]
    for name in (names[0], f"optimizer.momentum.{names[-1]}"):
        data = bytearray(whole_file)
        data[begin + tensors[name].begin] ^= 1
        file.write_bytes(data)
        with pytest.raises(UserError, match=f"is damaged: the checksum of {name} is wrong"):
            Checkpoint(file).verify()
    file.write_bytes(whole_file[:-5])
    with pytest.raises(UserError, match="is cut off: it holds"):
        Checkpoint(file)


@pytest.mark.parametrize("lacks", ["0.weight", "7.bias", "optimizer.momentum.0.weight"])
@pytest.mark.parametrize("chunks", [[(0, 4)], [(4, 8)]])
def test_a_tensor_that_another_stage_needs_is_missed_by_all(file, chunks, lacks):
    checkpoint = Checkpoint(file)
    del checkpoint.tensors[lacks]
    state = blank(stage_arena("resnet8", chunks), "sgd")
    with pytest.raises(UserError, match=f"does not hold this model and optimizer: it lacks the tensor {lacks}$"):
        checkpoint.load(state)
    assert np.isnan(state.arena.states).all()


def test_states_of_ranks_of_another_model_are_refused(tmp_path):
    path = tmp_path / "step-000000001.safetensors"
    path.write_bytes(written("tied", "sgd", 2, whole("tied"), np.random.default_rng(0), own_states=True))
    checkpoint = Checkpoint(path)
    rows = checkpoint.tensors[STATES_OF_RANK]
    checkpoint.tensors[STATES_OF_RANK] = type(rows)(rows.name, rows.dtype, (1, 44), rows.begin, rows.end)
    with pytest.raises(UserError, match=r"states_of_rank is float32 \(1, 44\), not float32 \(1, 22\)"):
        checkpoint.load(blank(stage_arena("tied", [(0, 2)]), "sgd"))


@pytest.mark.parametrize("name", MODELS)
def test_a_stage_loads_its_tensors_of_a_weights_file(tmp_path, name):
    path = tmp_path / "model.safetensors"
    one = filled(Arena(MODELS[name]()), "sgd").arena
    save_weights(path, gather_tensors(one), {"a": 1})
    for seed in range(4):
        for chunks in random_mesh(name, np.random.default_rng(seed))[1]:
            state = blank(stage_arena(name, chunks), "sgd")
            check_weights(path, state.arena.whole)
            load_weights(path, state.arena)
            for tensor, found in state.arena.named_tensors().items():
                np.testing.assert_array_equal(found, one.named_tensors()[tensor], f"{tensor}, seed {seed}")
    other = ModelTable.of(build("lenet", (12, 12, 1), 5))
    with pytest.raises(UserError, match=r"does not hold this model: it (lacks|has) the tensor"):
        check_weights(path, other)
