"""Plans on arrays that are not NumPy's, with a device that is none (tests/fake_device.py): the simulation's bits."""

import numpy as np
import pytest

from mpitrain.collectives import COLLECTIVES, find, names, simulate
from mpitrain.comm.schedule import segments
from mpitrain.comm.schedule.staging import HOST, DirectStaging, HostStaging
from mpitrain.errors import UserError
from tests.fake_device import FakeDevice
from tests.late import Over

pytestmark = pytest.mark.mpi

EVERYTHING = [name for collective in COLLECTIVES if collective != "barrier" for name in names(collective)]


@pytest.fixture(autouse=True)
def _back_to_the_host(world):
    yield
    world.use_staging(HOST)


def normal(num_elements, rank):
    return np.random.default_rng([3, rank]).standard_normal(num_elements)


def run(world, algorithm, inputs, staging, op="sum"):
    """Return this rank's result of the second run of a plan; the first works on zeros."""
    device = staging.device
    buffer = device.array(np.zeros_like(inputs[world.rank]))
    world.use_staging(staging)
    plan = world.plan(algorithm, buffer, op)
    plan.start()
    plan.wait()
    buffer[:] = device.array(inputs[world.rank])  # queued: the plan must wait for it
    plan.start()
    while not plan.poll():
        pass
    plan.wait()
    result = device.values(plan.result)
    plan.free()
    return result


def check(world, algorithm, found, inputs):
    """Compare with the simulation, except what lies beyond the ends of a halo exchange, where nothing arrives."""
    expected = simulate(find(algorithm), inputs)[world.rank]
    if find(algorithm).collective == "halo_exchange":
        there = np.repeat([world.rank > 0, world.rank < world.size - 1], found.size // 2)
        found, expected = found[there], expected[there]
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("mpi_reads", [True, False])
@pytest.mark.parametrize("algorithm", [*EVERYTHING, "pipelined_ring:segments=3", "chain:segments=1"])
def test_the_bits_of_the_simulation(world, algorithm, mpi_reads):
    for num_elements in (0, 2 * world.size, 60 * world.size):
        inputs = [
            np.random.default_rng([r, 1]).standard_normal(num_elements).astype(np.float32) for r in range(world.size)
        ]
        device = FakeDevice(mpi_reads)
        found = run(world, algorithm, inputs, DirectStaging(device) if mpi_reads else HostStaging(device))
        check(world, algorithm, found, inputs)
        if num_elements and world.size > 1:
            assert (device.pinned_bytes == 0) == mpi_reads


@pytest.fixture
def _small_pieces(monkeypatch):
    """Cut messages of some hundred bytes as others of some megabytes."""
    monkeypatch.setattr(segments, "COST_BYTES", 64)
    monkeypatch.setattr(segments, "STEP_BYTES", 4)


def sizes_of(world, algorithm):
    """All elements in one chunk, none in some, and messages whose last piece is shorter than the others."""
    sizes = (0, 1, world.size - 1, 61 * world.size + 3, 400)
    of = {"all_to_all": world.size, "halo_exchange": 2}.get(find(algorithm).collective, 1)
    return [n // of * of for n in sizes]


@pytest.mark.usefixtures("_small_pieces")
@pytest.mark.parametrize("who", ["all", "some", "one CUDA-aware"])
@pytest.mark.parametrize("algorithm", [*EVERYTHING, "pipelined_ring:segments=3"])
def test_pieces(world, algorithm, who):
    """The bits of the simulation, on ranks with and without a device: all cut alike."""
    for num_elements in sizes_of(world, algorithm):
        inputs = [normal(num_elements, rank).astype(np.float32) for rank in range(world.size)]
        staging = HostStaging(FakeDevice())
        if who == "one CUDA-aware" and world.rank == 0:
            staging = DirectStaging(FakeDevice(mpi_reads=True))
        if who == "some" and world.rank % 2:
            found = run_on_host(world, algorithm, inputs)
        else:
            found = run(world, algorithm, inputs, staging)
        check(world, algorithm, found, inputs)


def run_on_host(world, algorithm, inputs):
    """Do what ``run`` does, on a NumPy array."""
    buffer = np.zeros_like(inputs[world.rank])
    world.use_staging(HOST)
    plan = world.plan(algorithm, buffer)
    for values in (0, inputs[world.rank]):
        buffer[:] = values
        plan.start()
        while not plan.poll():
            pass
    result = plan.result.copy()
    plan.free()
    return result


@pytest.mark.usefixtures("_small_pieces")
def test_as_many_messages_as_the_rule_says(world):
    world.use_staging(HostStaging(FakeDevice()))
    plan = world.plan("ring", FakeDevice().array(np.zeros(400 * world.size, np.float32)))
    each = -(-400 // segments.segment_elements(400, 4, 1 << 30))
    assert plan.messages == 2 * (world.size - 1) * each
    assert each > 4
    assert plan.bytes_sent == 2 * (world.size - 1) * 1600
    plan.free()


BREAKS = {
    "sent before it is there": ("copied", lambda self: Over()),
    "copied down before it is added": ("wait_down", lambda self, event: None),
    "landing upon what has not gone up": ("added", lambda self: Over()),
    "begun before the gradients are there": ("begin", lambda self: None),
    "read before it is added": ("end", lambda self: None),
}


@pytest.mark.usefixtures("_small_pieces")
@pytest.mark.parametrize("broken", BREAKS)
def test_a_forgotten_wait_is_found(world, monkeypatch, broken):
    """Each wait is there for something: without it, some rank has wrong sums."""
    monkeypatch.setattr(HostStaging, *BREAKS[broken])
    inputs = [normal(400 * world.size, rank).astype(np.float32) for rank in range(world.size)]
    found = run(world, "ring", inputs, HostStaging(FakeDevice()))
    right = found.tobytes() == simulate(find("ring"), inputs)[world.rank].tobytes()
    if world.size > 1:
        assert not all(world.all_gather(right))


@pytest.mark.parametrize("op", ["max", "min"])
def test_other_operators(world, op):
    inputs = [normal(101, rank) for rank in range(world.size)]
    found = run(world, "ring", inputs, HostStaging(FakeDevice()), op)
    np.testing.assert_array_equal(found, getattr(np, op)(inputs, axis=0))


def test_what_else_sums_gradients(world):
    """Auto finds a schedule; shared memory and an MPI that cannot read the arrays are out."""
    device = FakeDevice()
    world.use_staging(HostStaging(device))
    for name in ("auto", "shared"):
        buffer = device.array(np.full(5000, 1.0 + world.rank))
        plan = world.plan_all_reduce(buffer, name)
        plan.start()
        plan.wait()
        np.testing.assert_array_equal(device.values(buffer), sum(1.0 + r for r in range(world.size)))
        assert plan.algorithm not in ("shared", "native")
        plan.free()
    with pytest.raises(UserError, match="native all-reduce cannot read this device's memory; "):
        world.plan_all_reduce(device.array(np.ones(3)), "native")


def test_native_where_mpi_reads(world):
    device = FakeDevice(mpi_reads=True)
    world.use_staging(DirectStaging(device))
    buffer = device.array(np.zeros(100))
    plan = world.plan_all_reduce(buffer, "native")
    buffer[:] = device.array(np.full(100, 2.0))
    plan.start()
    plan.wait()
    np.testing.assert_array_equal(device.values(buffer), 2 * world.size)
    plan.free()
