"""Plans on arrays that are not NumPy's, with a device that is none (tests/fake_device.py): the simulation's bits."""

import numpy as np
import pytest

from mpitrain.collectives import COLLECTIVES, find, names, simulate
from mpitrain.comm.staging import HOST, DirectStaging, HostStaging
from mpitrain.errors import UserError
from tests.fake_device import FakeDevice

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


@pytest.mark.parametrize("mpi_reads", [True, False])
@pytest.mark.parametrize("algorithm", [*EVERYTHING, "pipelined_ring:segments=3", "chain:segments=1"])
def test_the_bits_of_the_simulation(world, algorithm, mpi_reads):
    for num_elements in (0, world.size, 60 * world.size):
        inputs = [
            np.random.default_rng([r, 1]).standard_normal(num_elements).astype(np.float32) for r in range(world.size)
        ]
        device = FakeDevice(mpi_reads)
        found = run(world, algorithm, inputs, DirectStaging(device) if mpi_reads else HostStaging(device))
        assert found.tobytes() == simulate(find(algorithm), inputs)[world.rank].tobytes()
        if num_elements and world.size > 1:
            assert (device.pinned_bytes == 0) == mpi_reads


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
