"""A thread that moves requests: they end without being polled, with the same sums, and errors reach the rank."""

import time

import numpy as np
import pytest

from mpitrain.comm.schedule import progress_thread
from mpitrain.comm.schedule.progress_thread import Driver, ProgressThread
from mpitrain.comm.world import World

pytestmark = pytest.mark.mpi


@pytest.fixture(params=[False, True], ids=["polls", "waits"])
def driven(world, request):
    """A world whose all-reduces a thread moves, by polling or by waiting inside MPI."""
    driven = World(world._comm)
    driven.group()._planner._driver = Driver(spare_core=request.param)
    driven.use_progress_thread(True)
    return driven


def done_within(request, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not request.poll():
        assert time.monotonic() < deadline, "nothing moved it"
        time.sleep(1e-3)
    return True


@pytest.mark.parametrize("algorithm", ["ring", "tree", "pipelined_ring", "halving_doubling", "native"])
def test_it_ends_by_itself(driven, algorithm):
    buffers = [np.empty(n, np.float32) for n in (1, 1000, 300_000)]
    plans = [driven.plan_all_reduce(buffer, algorithm) for buffer in buffers]
    for turn in range(3):
        for buffer, plan in zip(buffers, plans, strict=True):
            buffer[:] = driven.rank + turn
            plan.start()
        if turn < 2:
            assert all(done_within(plan) for plan in plans)
        for buffer, plan in zip(buffers, plans, strict=True):
            plan.wait()
            np.testing.assert_array_equal(buffer, sum(range(driven.size)) + driven.size * turn)
    for plan in plans:
        plan.free()


def test_started_twice(world, driven):
    if driven.size == 1:
        pytest.skip("nothing is in flight on one rank")
    plan = driven.plan_all_reduce(np.ones(10, np.float32), "ring")
    if driven.rank == 0:
        plan.start()  # cannot end before the others come
        with pytest.raises(RuntimeError, match="still in flight"):
            plan.start()
    world.barrier()
    if driven.rank:
        plan.start()
    plan.wait()
    plan.free()


class Failing:
    algorithm, messages, bytes_sent, result = "failing", 0, 0, None

    def start(self):
        pass

    def poll(self):
        raise OSError("the network is down")

    wait = poll


@pytest.mark.parametrize("spare_core", [False, True])
def test_an_error_in_the_thread_is_raised_where_one_waits(spare_core):
    request = ProgressThread(spare_core=spare_core).drive(Failing())
    request.start()
    with pytest.raises(OSError, match="the network is down"):
        request.wait()
    with pytest.raises(OSError, match="the network is down"):
        request.poll()


def test_without_thread_safety_the_rank_polls_and_is_told(world, monkeypatch):
    monkeypatch.setattr(progress_thread.MPI, "Query_thread", lambda: progress_thread.MPI.THREAD_SERIALIZED)
    other = World(world._comm)
    other.use_progress_thread(True)
    plan = other.plan_all_reduce(np.ones(10, np.float32), "ring")
    assert type(plan.plan).__name__ == "Plan"
    if world.size > 1:
        assert other.notes == [
            "no thread for messages: the MPI library was started with MPI_THREAD_SERIALIZED, but "
            "MPI_THREAD_MULTIPLE is needed"
        ]
    plan.free()
