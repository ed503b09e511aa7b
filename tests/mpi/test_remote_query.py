"""Queries between ranks by messages of a second thread, while the first waits inside MPI."""

import pytest
from mpi4py import MPI

from mpitrain.comm.schedule.progress_thread import why_no_thread
from mpitrain.comm.watch.hang_report import RankStatus
from mpitrain.comm.watch.remote_query import QueryService

pytestmark = pytest.mark.mpi
comm = MPI.COMM_WORLD


def account(rank):
    return RankStatus(rank, f"h{rank}", None, False, "x" * 100_000, ())  # too long for a message that is sent at once


@pytest.mark.skipif(why_no_thread() is not None, reason="MPI cannot be called from a second thread")
@pytest.mark.parametrize("speakers", ["all", "even"])
def test_who_waits_in_mpi_still_answers(speakers):
    speak = [rank for rank in range(comm.size) if speakers == "all" or rank % 2 == 0]
    line = QueryService(comm, several_nodes=True).connect(lambda: [account(comm.rank)] if comm.rank in speak else None)
    line.start()
    asker = comm.size - 1
    if comm.rank == asker:
        others = [rank for rank in speak if rank != asker]
        heard = line.ask(others, seconds=100)
        assert sorted(one.rank for one in heard) == others
        assert all(len(one.does) == 100_000 for one in heard)
    comm.Barrier()  # the others wait here
    line.stop()
    assert not line.is_alive()


def test_one_node_has_no_line():
    assert QueryService(comm, several_nodes=False).connect(lambda: None) is None
