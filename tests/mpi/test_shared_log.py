"""The log in the memory of rank 0: turns, lines and flags, while rank 0 computes."""

import time

import numpy as np
import pytest
from mpi4py import MPI

from mpitrain.comm import shared_log
from mpitrain.comm.made import Made
from mpitrain.comm.parts import Part, parts_of
from mpitrain.comm.shared_log import SharedLog
from mpitrain.comm.world import World
from mpitrain.errors import AgreedError, UserError


class OnSeveralNodes:
    """Stand-in for MPI whose shared windows are ordinary ones."""

    def __getattr__(self, name):
        return self if name == "Win" else getattr(MPI, name)

    Allocate = Allocate_shared = staticmethod(MPI.Win.Allocate)


@pytest.fixture(params=["one node", "several nodes"])
def window(request, monkeypatch):
    if request.param == "several nodes":
        monkeypatch.setattr(shared_log, "MPI", OnSeveralNodes())


def test_each_decision_follows_from_all_before_it(world, window):
    """All ranks append the number of lines that there are: no two find the same."""
    log, lines, times = SharedLog(world._comm, 10_000, 1), [], 20
    for _ in range(times):
        with log.turn():
            lines += log.read()
            log.append(b"%d %d\n" % (len(lines), world.rank))
            lines.append(b"%d %d\n" % (len(lines), world.rank))
    world.barrier()
    lines += log.read()
    assert [int(line.split()[0]) for line in lines] == list(range(times * world.size))
    assert all(sum(int(line.split()[1]) == rank for line in lines) == times for rank in range(world.size))
    assert world.all_gather(lines) == [lines] * world.size
    log.free()


def test_flags(world, window):
    log = SharedLog(world._comm, 10, 3)
    assert log.get(2) == 0
    world.barrier()
    if world.rank == world.size - 1:
        log.set(2, 7)
    world.barrier()
    assert (log.get(0), log.get(1), log.get(2)) == (0, 0, 7)
    log.free()


def test_a_log_that_is_full(world):
    log = SharedLog(world._comm, 10)
    if world.rank == 0:
        with pytest.raises(UserError, match="full"), log.turn():
            log.append(b"x" * 11)
        with log.turn():
            log.append(b"after it\n")
    log.free()


def test_nobody_waits_for_rank_0_while_it_computes(world, window):
    log, seconds = SharedLog(world._comm, 1000), 0.5
    world.barrier()
    begin = time.monotonic()
    if world.rank == 0:
        while time.monotonic() - begin < seconds:
            np.sqrt(np.arange(1000.0))
    else:
        with log.turn():
            log.read()
            log.append(b"here\n")
        assert time.monotonic() - begin < 0.8 * seconds
    log.free()


def test_parts_of_a_job(world):
    for size in range(1, world.size + 1):
        parts = parts_of(world, size)
        assert [rank for part in parts for rank in part] == list(range(world.size // size * size))
        assert all(len(part) == size for part in parts)


def fail_on_rank(world, rank):
    if world.rank == rank:
        raise UserError("no")


def test_a_part_is_a_world_of_its_own(world):
    """Errors, sums and waits of one part do not reach the others; communicators do not run out."""
    size = max(1, world.size // 2)
    mine = next((part for part in parts_of(world, size) if world.rank in part), None)
    if mine is not None:
        part = Part(world, mine)
        for turn in range(20):
            with Made() as made:
                own = part.world(lambda text: pytest.fail(text))
                own.watch(60)
                assert (own.rank, own.size, own.cores) == (part.rank, size, world.cores)
                total = own.group("data").all_reduce(np.full(3, 1.0 + world.rank), "ring")
                assert total.tolist() == [sum(1.0 + rank for rank in mine)] * 3
                with pytest.raises(AgreedError, match="no"), own.together():
                    fail_on_rank(own, size - 1)
                assert part.share(turn if part.rank == 0 else None) == turn
                own.close()
            made.free()
    world.barrier()


def test_communicators_are_freed():
    """More worlds than an MPI library has room for."""
    for _ in range(1200):
        with Made() as made:
            alone = World(MPI.COMM_SELF)
            alone.close()
        made.free()
