"""Every algorithm of every collective over MPI, with every operator: the bits of its simulation."""

import numpy as np
import pytest
from mpi4py import MPI

from mpitrain.collectives import COLLECTIVES, GOALS, OPERATORS, find, names, simulate
from mpitrain.comm.schedule.plan import Plan
from mpitrain.errors import UserError

pytestmark = pytest.mark.mpi

OPTIONS = [
    "pipelined_ring:segments=3",
    "chain:segments=1",
    "k_nomial:radix=3",
    "double_tree:segments=2",
    "two_level:node=2,inner=tree,outer=swing",
    "two_level:node=2,inner=halving,outer=pipelined_ring(segments=2)",
]
OTHERS = [
    name for collective in COLLECTIVES if collective not in ("all_reduce", "barrier") for name in names(collective)
]
ADDING = [name for name in OTHERS if find(name).collective in ("reduce_scatter", "reduce", "scan")]


def normal(num_elements, dtype, rank):
    return np.random.default_rng([7, rank]).standard_normal(num_elements).astype(dtype)


def run(world, algorithm, inputs, op="sum", times=2):
    """Return this rank's result of the last of some runs of one plan."""
    buffer = inputs[world.rank].copy()
    plan = world.plan(algorithm, buffer, op)
    for _ in range(times):
        buffer[:] = inputs[world.rank]
        plan.start()
        plan.wait()
    result = plan.result.copy()
    plan.free()
    return result


@pytest.mark.parametrize("algorithm", [*OPTIONS, *OTHERS])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_simulation_s_bits(world, algorithm, dtype):
    for num_elements in (0, 2 * world.size, 60 * world.size):
        inputs = [normal(num_elements, dtype, rank) for rank in range(world.size)]
        expected = simulate(find(algorithm), inputs)[world.rank]
        found = run(world, algorithm, inputs)
        if find(algorithm).collective == "halo_exchange":  # nothing arrives beyond the ends
            there = np.repeat([world.rank > 0, world.rank < world.size - 1], num_elements // 2)
            found, expected = found[there], expected[there]
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("algorithm", [name for name in OTHERS if GOALS[name.split("/")[0]].rooted])
def test_every_root(world, algorithm):
    for root in range(world.size):
        inputs = [normal(101, np.float32, rank) for rank in range(world.size)]
        expected = simulate(find(f"{algorithm}:root={root}"), inputs)[world.rank]
        assert run(world, f"{algorithm}:root={root}", inputs).tobytes() == expected.tobytes()
    with pytest.raises(UserError, match="as its root, but ranks go from 0 to"):
        world.plan(f"{algorithm}:root={world.size}", np.ones(3))


@pytest.mark.parametrize("algorithm", [*names(), "shared", "native"])
@pytest.mark.parametrize("op", ["max", "min"])
def test_greatest_and_least(world, algorithm, op):
    for num_elements in (1, 1001):
        inputs = [normal(num_elements, np.float32, rank) for rank in range(world.size)]
        buffer = inputs[world.rank].copy()
        plan = world.plan_all_reduce(buffer, algorithm, op)
        plan.start()
        plan.wait()
        np.testing.assert_array_equal(buffer, getattr(np, op)(inputs, axis=0))
        plan.free()


@pytest.mark.parametrize("op", ["max", "min"])
@pytest.mark.parametrize("algorithm", ADDING)
def test_operators_of_other_collectives(world, algorithm, op):
    inputs = [normal(101, np.float32, rank) for rank in range(world.size)]
    expected = simulate(find(algorithm), inputs, op)[world.rank]
    assert run(world, algorithm, inputs, op).tobytes() == expected.tobytes()


def test_operators_that_there_are_not(world):
    buffer = np.ones(100, np.float32)
    with pytest.raises(UserError, match="no operator 'mean'; there are sum, max, min"):
        world.plan("ring", buffer, "mean")
    for algorithm in ("ring", "native", "shared", "auto"):
        with pytest.raises(UserError, match="no operator 'mean'; there are sum, max, min"):
            world.plan_all_reduce(buffer, algorithm, "mean")
    assert set(OPERATORS) == {"sum", "max", "min"}


def test_barrier(world):
    plan = world.plan("barrier/dissemination", np.empty(0, np.uint8))
    assert plan.messages == (world.size - 1).bit_length()
    begin = MPI.Wtime()
    if world.rank == world.size - 1:
        while MPI.Wtime() - begin < 0.2:
            pass
    plan.start()
    plan.wait()
    assert world.size == 1 or MPI.Wtime() - begin > 0.1
    plan.free()


@pytest.mark.parametrize("algorithm", ["all_gather/bruck", "all_to_all/bruck", "pipelined_ring", "swing"])
def test_in_pieces(world, algorithm):
    inputs = [normal(64 * world.size, np.float64, rank) for rank in range(world.size)]
    buffer = inputs[world.rank].copy()
    plan = Plan(MPI.COMM_WORLD, find(algorithm), buffer, tag=3, max_message_bytes=100, yield_cpu=True)
    plan.start()
    plan.wait()
    assert plan.result.tobytes() == simulate(find(algorithm), inputs)[world.rank].tobytes()
    plan.free()


def test_all_to_all_needs_equal_chunks(world):
    if world.size > 1:
        with pytest.raises(ValueError, match="must be a multiple"):
            world.plan("all_to_all/pairwise", np.empty(world.size + 1))


FILE = """
from mpitrain.collectives import Step

def right(rank, size):
    if rank:
        yield Step(send_to=0, send=range(size))
        yield Step(recv_from=0, recv=range(size))
    else:
        for peer in range(1, size):
            yield Step(recv_from=peer, recv=range(size), reduce=True)
        for peer in range(1, size):
            yield Step(send_to=peer, send=range(size))

def wrong(rank, size):
    yield from list(right(rank, size))[:-1]
"""


@pytest.fixture
def file(world, tmp_path_factory):
    path = MPI.COMM_WORLD.bcast(str(tmp_path_factory.mktemp("own") / "mine.py"))
    if world.rank == 0:
        with open(path, "w") as out:
            out.write(FILE)
    world.barrier()
    return path


def test_an_algorithm_of_one_s_own(world, file):
    buffer = np.full(10, float(world.rank))
    plan = world.plan_all_reduce(buffer, f"{file}:right")
    plan.start()
    plan.wait()
    np.testing.assert_array_equal(buffer, sum(range(world.size)))
    plan.free()


def test_a_wrong_one_is_refused_on_all_ranks(world, file):
    if world.size > 1:
        with pytest.raises(UserError, match="P = 2: "):
            world.plan_all_reduce(np.ones(4), f"{file}:wrong")
    with pytest.raises(UserError, match="has no function 'other'; it has right, wrong"):
        world.plan_all_reduce(np.ones(4), f"{file}:other")
    with pytest.raises(UserError, match="not an all-reduce"):
        world.plan_all_reduce(np.ones(4), "all_gather/ring:")
