"""A checkpoint is complete or absent, holds what was there when it was begun, and fits any number of ranks."""

import errno
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy

from mpitrain.arena import Arena
from mpitrain.comm import shared_file
from mpitrain.errors import UserError
from mpitrain.models import build
from mpitrain.optim import AdamW
from mpitrain.training.checkpoint import Checkpoint, Snapshot, State, Writer, folder
from mpitrain.training.checkpoint.parts import STATES_OF_RANK

pytestmark = pytest.mark.mpi


def make_state(seed):
    """The state of a small ResNet after some steps, made of random numbers; the same on all ranks."""
    model = build("resnet8", (8, 8, 3), 4)
    arena = Arena(model.named_parameters(), model.named_states(), seed=seed)
    state = State(arena, AdamW(arena))
    rng = np.random.default_rng(seed)
    for p in arena.parameters:
        for flat in state.buffers().values():
            flat[p.start : p.stop] = rng.standard_normal(p.size)
    arena.states[:] = rng.standard_normal(arena.states.size)
    return state


def everything(state):
    return [*state.buffers().values(), state.arena.states]


def assert_same(a, b):
    for x, y in zip(everything(a), everything(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture
def shared_path(world, tmp_path):
    """One directory for all ranks."""
    return world.all_gather(tmp_path)[0]


@pytest.mark.parametrize("mpi_io", [True, False])
def test_what_was_there_when_it_began(world, alone, shared_path, mpi_io, monkeypatch):
    monkeypatch.setattr(world.job, "mpi_io", mpi_io)
    monkeypatch.setattr(shared_file, "PIECE", 1000)
    state = make_state(1)
    writer = Writer(world, shared_path, state, keep=2)
    for step in (3, 7, 20):
        writer.begin(step, {"step": step, "text": "π"})
        assert writer.running
        for array in everything(state):
            array += 1
        writer.end(wait=True)
        world.barrier()
    assert [p.name for p in folder.newest_first(shared_path)] == [
        "step-000000020.safetensors",
        "step-000000007.safetensors",
    ]
    world.barrier()
    read = make_state(2)
    checkpoint = Checkpoint(folder.path_of_step(shared_path, 20))
    assert checkpoint.metadata == {"step": 20, "text": "π"}
    checkpoint.verify(world.rank, world.size)
    checkpoint.load(read)
    expected = make_state(1)
    for array in everything(expected) * 2:
        array += 1  # what two checkpoints were followed by
    for p in expected.arena.parameters:
        for x, y in zip(read.buffers().values(), expected.buffers().values(), strict=True):
            np.testing.assert_array_equal(x[p.start : p.stop], y[p.start : p.stop])
    np.testing.assert_array_equal(read.arena.states, expected.arena.states)
    world.barrier()
    assert sorted(p.name for p in shared_path.iterdir()) == [p.name for p in folder.newest_first(shared_path)][::-1]


def test_the_file_is_the_same_on_any_number_of_ranks(world, alone, shared_path):
    for name, w in (("all", world), ("alone", alone)):
        if w is world or world.rank == 0:
            writer = Writer(w, shared_path / name, make_state(1))
            writer.begin(1, {"a": 1})
            writer.close()
    world.barrier()
    a, b = (folder.path_of_step(shared_path / name, 1).read_bytes() for name in ("all", "alone"))
    assert a == b
    tensors = safetensors.numpy.load(a)
    arena = make_state(1).arena
    for name, value in arena.named_tensors().items():
        np.testing.assert_array_equal(tensors[name], value)
    assert {f"optimizer.{slot}.{p.name}" for slot in "mv" for p in arena.parameters} < set(tensors)


def test_each_rank_gets_its_own_states_back(world, shared_path):
    state = make_state(1)
    state.arena.states[:] = world.rank
    writer = Writer(world, shared_path, state, own_states=True)
    writer.begin(5, {})
    writer.close()
    world.barrier()
    checkpoint = Checkpoint(folder.path_of_step(shared_path, 5))
    assert checkpoint.tensors[STATES_OF_RANK].shape == (world.size, state.arena.states.size)
    read = make_state(2)
    checkpoint.load(read, row=(world.rank, world.size))
    assert (read.arena.states == world.rank).all()
    checkpoint.load(read, row=(0, world.size + 1))
    np.testing.assert_allclose(read.arena.states, (world.size - 1) / 2, rtol=1e-6)


def test_a_rank_keeps_only_its_part_of_the_slots(world, shared_path):
    state, size = make_state(1), make_state(1).arena.size
    middle = size // 3
    parts = (slice(0, 10), slice(middle, size)) if world.rank == 0 else ()
    if world.rank == world.size - 1:
        parts = (*parts, slice(10, middle))
    writer = Writer(world, shared_path, state, slices=parts)
    writer.begin(5, {})
    writer.close()
    world.barrier()
    read = make_state(2)
    before = [slot.copy() for slot in read.optimizer.slots.values()]
    Checkpoint(folder.path_of_step(shared_path, 5)).verify()
    Checkpoint(folder.path_of_step(shared_path, 5)).load(read, slices=parts)
    np.testing.assert_array_equal(read.arena.values, state.arena.values)
    mine = np.zeros(size, bool)
    for part in parts:
        mine[part] = True
    for name, old in zip(state.optimizer.slots, before, strict=True):
        found, written = read.optimizer.slots[name], state.optimizer.slots[name]
        for p in state.arena.parameters:
            here = mine[p.start : p.stop]
            np.testing.assert_array_equal(found[p.start : p.stop][here], written[p.start : p.stop][here])
            np.testing.assert_array_equal(found[p.start : p.stop][~here], old[p.start : p.stop][~here])


@pytest.mark.parametrize("who", ["first", "last"])
@pytest.mark.parametrize("when", ["open", "write", "flush"])
def test_a_full_disk_leaves_the_earlier_one(world, shared_path, monkeypatch, who, when):
    said = []
    state = make_state(1)
    writer = Writer(world, shared_path, state, note=said.append)
    writer.begin(1, {"step": 1})
    writer.end(wait=True)
    if world.rank == (0 if who == "first" else world.size - 1):

        def full(*arguments, **options):
            raise OSError(errno.ENOSPC, "No space left on device")

        if when == "open":
            monkeypatch.setattr(world, "open_file", full)
        else:
            monkeypatch.setattr(shared_file.SharedFile, {"write": "write_at", "flush": "flush"}[when], full)
    if when == "open":
        monkeypatch.setattr(world.job, "mpi_io", False)  # a rank that stays away would leave the others in MPI's open
    writer.begin(2, {"step": 2})
    if writer.running:
        writer.end(wait=True)
    monkeypatch.undo()
    world.barrier()
    names = sorted(p.name for p in shared_path.iterdir())
    assert names == ["step-000000001.safetensors"]
    assert len(said) == (world.rank == 0)
    assert all("No space left on device" in text and "step-000000002" in text for text in said)
    world.barrier()
    writer.begin(3, {"step": 3})
    writer.end(wait=True)
    world.barrier()
    assert folder.newest_first(shared_path)[0].name == "step-000000003.safetensors"
    assert (writer.written, writer.failed) == ((2, 1) if world.rank == 0 else (0, 0))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_writer_that_fails_leaves_the_earlier_one(world, shared_path, monkeypatch):
    """An error that is not the disk's, on the last rank, makes no checkpoint with checksums of other tensors."""
    said = []
    writer = Writer(world, shared_path, make_state(1), note=said.append)
    writer.begin(1, {"step": 1})
    writer.end(wait=True)
    if world.rank == world.size - 1:

        def broken(*arguments):
            raise RuntimeError("a fault for the test")

        monkeypatch.setattr(shared_file.SharedFile, "write_at", broken)
    writer.begin(2, {"step": 2})
    writer.end(wait=True)
    world.barrier()
    assert [path.name for path in shared_path.iterdir()] == ["step-000000001.safetensors"]
    assert all("the thread that writes it has failed" in text for text in said)
    assert len(said) == (world.rank == 0)
    world.barrier()


def test_a_reason_is_told_without_mpis_stack():
    stack = "Other I/O error, error stack:\nADIOI_GEN_WRITECONTIG(80).....: Other I/O error No space left on device "
    assert shared_file._reason(SimpleNamespace(Get_error_string=lambda: stack)) == "No space left on device"
    assert shared_file._reason(SimpleNamespace(Get_error_string=lambda: "MPI_ERR_IO: input/output error")).startswith(
        "MPI_ERR_IO"
    )


def test_a_directory_that_cannot_be_made(world, shared_path):
    if world.rank == 0:
        (shared_path / "file").write_text("")
    said = []
    writer = Writer(world, shared_path / "file" / "x", make_state(1), note=said.append)
    writer.begin(1, {})
    assert not writer.running
    writer.close()
    assert [("Not a directory" in text) for text in said] == [True] * (world.rank == 0)


@pytest.mark.parametrize("ending", ["no header", "cut off", "a byte", "facts"])
def test_damage_is_named(world, shared_path, ending):
    writer = Writer(world, shared_path, make_state(1))
    writer.begin(1, {"step": 1})
    writer.end(wait=True)
    path = folder.path_of_step(shared_path, 1)
    if world.rank == 0:
        data = bytearray(path.read_bytes())
        if ending == "no header":
            data[:8] = bytes(8)
        elif ending == "cut off":
            del data[-5:]
        elif ending == "a byte":
            data[-5] ^= 1
        else:
            place = data.index(b'\\"step\\": 1')
            data[place + 10 : place + 11] = b"2"
        path.write_bytes(data)
    world.barrier()
    with pytest.raises(UserError, match=r"is not a whole|is cut off|checksum of .* is wrong") as error:
        Checkpoint(path).verify()
    assert str(path) in str(error.value)


def test_another_model_or_optimizer_is_refused(world, shared_path):
    writer = Writer(world, shared_path, make_state(1))
    writer.begin(1, {"step": 1})
    writer.end(wait=True)
    world.barrier()
    checkpoint = Checkpoint(folder.path_of_step(shared_path, 1))
    model = build("mlp", (8,), 4)
    arena = Arena(model.named_parameters())
    with pytest.raises(UserError, match="does not hold this model and optimizer"):
        checkpoint.load(State(arena, AdamW(arena)))


def test_a_snapshot_goes_back():
    state, other = make_state(1), make_state(1)
    snapshot = Snapshot(state)
    state.optimizer.step_count = 3
    for array in everything(state):
        array += 1
    snapshot.restore()
    assert_same(state, other)
    assert state.optimizer.step_count == 0
    state.optimizer.step_count = 4
    for array in everything(state):
        array += 1
    snapshot.take()
    for array in everything(state):
        array += 1
    snapshot.restore()
    for x, y in zip(everything(state), everything(other), strict=True):
        np.testing.assert_array_equal(x, y + 1)
    assert state.optimizer.step_count == 4
