"""All-reduce over MPI: exact sums, the simulation's bits, many in flight, long messages in pieces."""

import functools

import numpy as np
import pytest
from mpi4py import MPI

from mpitrain.collectives import ALL_REDUCE, simulate
from mpitrain.comm.schedule.native import NativePlan
from mpitrain.comm.schedule.plan import Plan
from mpitrain.comm.world import ALL_REDUCE_NAMES
from mpitrain.errors import UserError

pytestmark = pytest.mark.mpi


def integers(world, num_elements, dtype, seed=0):
    """Return this rank's input and the sum over ranks; small integers, so that every order of adding is exact."""
    inputs = [np.random.default_rng([seed, r]).integers(-50, 50, num_elements).astype(dtype) for r in range(world.size)]
    return inputs[world.rank], np.sum(inputs, axis=0).astype(dtype)


DTYPES = [np.float16, np.float32, np.float64]


@functools.lru_cache(maxsize=8)
def small_integers(size, rank, num_elements):
    """Return what ``rank`` brings and the sum over ranks: small integers, exact in every dtype and order of adding."""
    places = np.arange(num_elements, dtype=np.int32)
    total = np.zeros(num_elements, np.int16)
    for r in range(size):
        part = (places * (2 * r + 3) % 101 - 50).astype(np.int16)
        total += part
        if r == rank:
            mine = part
    return mine, total


@pytest.mark.parametrize("algorithm", ALL_REDUCE_NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_sum_again_and_again(world, algorithm, dtype):
    for num_elements in (0, 1, world.size - 1, world.size, 1000, 1_000_003):
        mine, expected = (part.astype(dtype) for part in small_integers(world.size, world.rank, num_elements))
        buffer = mine.copy()
        plan = world.plan_all_reduce(buffer, algorithm)
        for _ in range(2):
            buffer[:] = mine
            plan.start()
            plan.wait()
            np.testing.assert_array_equal(buffer, expected, f"{algorithm}, n {num_elements}")
        plan.free()


@pytest.mark.parametrize("algorithm", ALL_REDUCE)
@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_as_simulated(world, algorithm, dtype):
    inputs = [np.random.default_rng(r).standard_normal(1001).astype(dtype) for r in range(world.size)]
    buffer = inputs[world.rank].copy()
    plan = world.plan_all_reduce(buffer, algorithm)
    plan.start()
    plan.wait()
    assert buffer.tobytes() == simulate(ALL_REDUCE[algorithm], inputs)[world.rank].tobytes()
    plan.free()


@pytest.mark.parametrize("algorithm", ALL_REDUCE_NAMES)
def test_many_in_flight_moved_by_poll(world, algorithm):
    parts = [integers(world, 500 + i, np.float32, seed=i) for i in range(5)]
    buffers = [mine.copy() for mine, _ in parts]
    plans = [world.plan_all_reduce(buffer, algorithm) for buffer in buffers]
    for plan in plans:
        plan.start()
    unfinished = plans
    while unfinished:
        unfinished = [plan for plan in unfinished if not plan.poll()]
    for plan, buffer, (_, expected) in zip(plans, buffers, parts):
        plan.wait()
        np.testing.assert_array_equal(buffer, expected)
        plan.free()


@pytest.mark.parametrize("algorithm", [*ALL_REDUCE, "native"])
@pytest.mark.parametrize("yield_cpu", [False, True])
def test_long_messages_go_in_pieces(world, algorithm, yield_cpu):
    buffer, expected = integers(world, 1000, np.float32)
    limits = {"yield_cpu": yield_cpu, "max_message_bytes": 256}
    if algorithm == "native":
        plan = NativePlan(MPI.COMM_WORLD, buffer, **limits)
    else:
        plan = Plan(MPI.COMM_WORLD, ALL_REDUCE[algorithm], buffer, tag=7, **limits)
    plan.start()
    plan.wait()
    np.testing.assert_array_equal(buffer, expected)
    if algorithm == "ring" and world.size > 1:
        assert plan.messages >= 1000 * 4 // 256
        assert abs(plan.bytes_sent - 2 * (world.size - 1) / world.size * buffer.nbytes) < 64
    plan.free()


def test_started_twice(world):
    plan = world.plan_all_reduce(np.ones(4, np.float32), "ring")
    plan.start()
    if world.size > 1:
        with pytest.raises(RuntimeError, match="still in flight"):
            plan.start()
    plan.wait()
    plan.free()


def test_unknown_algorithm(world):
    with pytest.raises(UserError, match="no all-reduce 'rign'; there are ring, tree"):
        world.plan_all_reduce(np.ones(4, np.float32), "rign")


@pytest.mark.large
def test_more_than_two_gib(world):
    # 2.2 GB a rank: mpirun -n 2 python -m pytest tests/mpi -m large --with-mpi
    buffer = np.ones(550_000_000, np.float32)
    for algorithm in ("ring", "tree", "native"):
        buffer[:] = 1
        plan = world.plan_all_reduce(buffer, algorithm)
        plan.start()
        plan.wait()
        assert (buffer == world.size).all(), algorithm
        plan.free()
