"""Groups: some ranks of a job, over any communicator, sharing the job's ledger but no thread."""

import threading
import time

import numpy as np
import pytest
from mpi4py import MPI

from mpitrain.collectives import names
from mpitrain.comm.group import KEPT_PLANS, Group
from mpitrain.comm.watch.hang_report import say_ranks
from mpitrain.comm.world import World
from mpitrain.errors import AgreedError, UserError


@pytest.fixture(scope="module")
def half(world):
    """The even ranks, or the odd ones, in descending order of their world ranks."""
    return world.group("tensor", MPI.COMM_WORLD.Split(world.rank % 2, -world.rank))


def expected(group):
    return sum(rank + 1 for rank in group.world_ranks)


def last_texts(world):
    return [entry.text for entry in world.ledger.mine.entries()]


def test_ranks_of_a_part(world, half):
    assert half.world_ranks == list(range(world.size))[world.rank % 2 :: 2][::-1]
    assert half.world_ranks[half.rank] == world.rank
    assert half.all_gather(world.rank) == half.world_ranks
    assert half.place.node_size == half.size
    assert half.place.node_rank == half.rank
    assert half.sum(np.array([world.rank + 1.0]))[0] == expected(half)


@pytest.mark.parametrize("algorithm", [*names(), "shared", "native", "auto"])
def test_all_reduce(world, half, algorithm):
    for shape in ((3,), (2, 5), ()):
        array = np.full(shape, world.rank + 1, np.float32)
        assert half.all_reduce(array, algorithm) is array
        np.testing.assert_array_equal(array, np.full(shape, expected(half)))


def test_arrays_that_are_not_contiguous(world, half):
    whole = np.full((4, 6), world.rank + 1.0)
    half.all_reduce(whole[:, ::2], op="max")
    assert (whole[:, ::2] == max(half.world_ranks) + 1).all()
    assert (whole[:, 1::2] == world.rank + 1).all()


def test_plans_are_kept_and_given_back(world, half):
    made = [half.all_reduce(np.full(n, world.rank + 1.0), "ring")[0] for n in range(1, 2 * KEPT_PLANS)]
    assert made == [expected(half)] * len(made)
    assert len(half._plans) == KEPT_PLANS
    before = list(half._plans.values())
    half.all_reduce(np.ones(2 * KEPT_PLANS - 1), "ring")
    assert list(half._plans.values()) == before


def test_messages_name_the_axis_and_world_ranks():
    world = World()  # its ledger still has room for names
    half = world.group("tensor", MPI.COMM_WORLD.Split(world.rank % 2))
    half.all_reduce(np.ones(7), "ring")
    half.sum(np.ones(3))
    planned, summed = last_texts(world)[-2:]
    assert "ring all-reduce of 56 bytes of float64" in planned
    assert "allreduce (sum) of 24 bytes of float64" in summed
    if half.size < world.size:
        where = f" on axis tensor ({say_ranks(sorted(half.world_ranks))}) "
        assert f"float64{where}planned at mpi/test_group.py:" in planned
        assert f"float64{where}at mpi/test_group.py:" in summed


def test_calls_of_a_part_are_not_compared_with_those_of_other_ranks(world, half):
    before = world.ledger.fingerprint
    if world.rank % 2 == 0:
        half.sum(np.ones(2))
    assert half.size == world.size or world.ledger.fingerprint == before
    world.barrier()


def test_failures_name_world_ranks(world, half):
    def last_fails():
        with half.together():
            if half.rank == half.size - 1:
                raise UserError("no")

    with pytest.raises(AgreedError) as error:
        last_fails()
    last = half.world_ranks[-1]
    assert str(error.value) == ("no" if half.size == 1 else f"rank {last}: no")


def test_the_data_group_is_made_once_and_shares_the_memory_of_the_world(world):
    group = world.group("data")
    assert world.group() is group
    assert (group.rank, group.size, group.world_ranks) == (world.rank, world.size, list(range(world.size)))
    assert group.job.ledger is world.ledger
    buffer = world.shared_empty((5000,))
    assert group._windows._windows[-1].find(buffer) == 0
    assert group.fingerprint == world.ledger.fingerprint


def test_a_program_without_a_world(world):
    threads = threading.active_count()
    group = Group(MPI.COMM_WORLD.Split(world.rank % 2, world.rank))
    assert group.job.ledger is None
    assert group.world_ranks[group.rank] == world.rank
    number = world.ledger.job.number
    for algorithm in ("ring", "shared", "native"):
        array = group.all_reduce(np.full(5, world.rank + 1.0), algorithm)
        np.testing.assert_array_equal(array, expected(group))
    shared = group.share_arena(10)
    if shared is not None:
        shared.barrier("a test")
        shared.free()
    assert group.fingerprint == 0
    assert world.ledger.job.number == number
    assert threading.active_count() == threads


def test_a_group_is_cheap(alone):
    """Less than 1 ms beside its MPI calls, measured on one rank, where those do not wait."""

    def mpi_calls():
        comm = MPI.COMM_SELF.Dup()
        comm.allgather(alone.job.affinity)
        comm.Free()

    def fastest(make):
        times = []
        for _ in range(20):
            begin = time.perf_counter()
            make()
            times.append(time.perf_counter() - begin)
        return min(times)

    assert fastest(lambda: alone.group("data", MPI.COMM_SELF)) - fastest(mpi_calls) < 1e-3
