"""Pieces of work that ranks take as they are free."""

import doctest
import itertools
import time

import numpy as np
import pytest

from mpitrain.comm import ordered_work
from mpitrain.comm.ordered_work import CREDIT, WINDOW, OrderedWork

pytestmark = pytest.mark.mpi


def result_of(number, seed):
    """Return bytes of a random length, from none to more than a message that is sent at once."""
    rng = np.random.default_rng([seed, number])
    return rng.integers(0, 256, int(rng.integers(0, 300_000)) * int(rng.integers(0, 2)), np.uint8).tobytes()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 17, 60])
def test_results_arrive_in_order(world, count):
    seed = int(world.all_gather(np.random.SeedSequence().entropy % 2**32)[0])
    print("seed", seed)
    found = []
    work = OrderedWork(world.group("data"), count, lambda result: found.append(bytes(result)))
    done = []
    for number in work:
        done.append(number)
        work.put(number, result_of(number, seed))
    assert found == ([result_of(number, seed) for number in range(count)] if world.rank == 0 else [])
    assert sorted(itertools.chain(*world.all_gather(done))) == list(range(count))
    assert work.done == len(done)
    assert not work.failed


def test_fast_ranks_do_more(world):
    slow = world.size - 1  # rank 0 itself where it is alone
    work = OrderedWork(world.group("data"), 12 * world.size, lambda _: None)
    for number in work:
        end = time.perf_counter() + (0.05 if world.rank == slow else 0.002)
        while time.perf_counter() < end:
            time.sleep(0.001)
            work.poll()
        work.put(number, b"")
    counts = world.all_gather(work.done)
    assert sum(counts) == 12 * world.size
    assert world.size == 1 or counts[slow] < 12


def test_what_rank_0_holds_is_limited(world):
    """The first piece takes longer than all others together could: no more are dealt meanwhile than the window has."""
    begun = []
    work = OrderedWork(world.group("data"), 20 * world.size, lambda _: None)
    for number in work:
        if number == 0:
            end = time.perf_counter() + 0.2
            while time.perf_counter() < end:
                work.poll()
            assert world.size == 1 or len(work._ready) <= WINDOW * world.size
        begun.append(number)
        work.put(number, b"x" * 100)
    assert sorted(itertools.chain(*world.all_gather(begun))) == list(range(20 * world.size))


@pytest.mark.parametrize("bad", [0, 7, 39])
def test_a_piece_that_fails_ends_the_work(world, bad):
    taken, begun = [], []
    work = OrderedWork(world.group("data"), 40, lambda result: taken.append(bytes(result)))
    for number in work:
        begun.append(number)
        if number == bad:
            work.fail(number)
        else:
            work.put(number, str(number).encode())
    every = list(itertools.chain(*world.all_gather(begun)))
    assert every.count(bad) == 1
    assert taken == [str(k).encode() for k in range(len(taken))]
    assert len(taken) <= bad
    assert max(every) < bad + (WINDOW + CREDIT + 1) * world.size
    assert any(world.all_gather(work.failed))


def test_the_example(world):
    if world.rank == 0:
        assert doctest.testmod(ordered_work).failed == 0
