"""Queries between nodes about the status of their ranks, by messages from a thread of their own.

The ranks themselves may be stuck in an MPI call or a loop, or be stopped: a second thread of the process can still send
and receive (MPI_THREAD_MULTIPLE). The watchdog does not call MPI itself, so if these messages are stuck as well, it
reports on its own node only.

    querying node                      other nodes
    question to all other ranks   ->   the rank that reports for its node
                                  <-   statuses of all ranks of its node
"""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from mpi4py import MPI

from ..schedule.progress_thread import why_no_thread
from .hang_report import RankStatus

PAUSE = 0.2  # seconds between two polls for a question
ANSWER_SECONDS = 4.0  # two polls, a second for stacks, and some more
QUESTION, ANSWER = 1, 2

Statuses = Callable[[], list[RankStatus] | None]


class QueryThread(threading.Thread):
    """Thread that answers questions of other nodes and asks its own.

    Parameters
    ----------
    comm : MPI.Comm
        All ranks, in a communicator for these messages only.
    rank_statuses : callable() -> list of RankStatus or None
        Statuses of this node's ranks; None on a rank that does not report for it.
    """

    def __init__(self, comm: Any, rank_statuses: Statuses):
        super().__init__(name="mpitrain-remote-query", daemon=True)
        self._comm, self._statuses = comm, rank_statuses
        self._to_ask: list[int] = []
        self._heard: list[RankStatus] = []
        self._requests: list[Any] = []
        self._quit = threading.Event()

    def ask(self, ranks: list[int], seconds: float = ANSWER_SECONDS) -> list[RankStatus]:
        """Return the statuses of ``ranks`` of other nodes that answer within ``seconds``."""
        self._heard, self._to_ask = [], ranks
        until = time.monotonic() + seconds
        while set(ranks) - {one.rank for one in self._heard} and time.monotonic() < until:
            time.sleep(PAUSE / 4)
        return self._heard.copy()

    def stop(self) -> None:
        """End the thread and wait for its end, so that MPI can be finalized."""
        self._quit.set()
        if self.ident is not None:
            self.join(ANSWER_SECONDS)

    def run(self) -> None:
        """Poll for questions and answers until ``stop`` is called."""
        with contextlib.suppress(MPI.Exception):
            while not self._quit.wait(PAUSE):
                to_ask, self._to_ask = self._to_ask, []
                self._requests += [self._comm.isend(None, rank, QUESTION) for rank in to_ask]
                self._answer()
                while self._comm.Iprobe(MPI.ANY_SOURCE, ANSWER):
                    self._heard += self._comm.recv(None, MPI.ANY_SOURCE, ANSWER)
                self._requests = [request for request in self._requests if not request.test()[0]]

    def _answer(self) -> None:
        status = MPI.Status()
        while self._comm.Iprobe(MPI.ANY_SOURCE, QUESTION, status):
            self._comm.recv(None, status.Get_source(), QUESTION)
            known = self._statuses()
            if known:
                self._requests.append(self._comm.isend(known, status.Get_source(), ANSWER))


class QueryService:
    """Makes the query threads of a job, on one communicator that is made when it is first needed.

    Parameters
    ----------
    comm : MPI.Comm
    several_nodes : bool
    """

    def __init__(self, comm: Any, *, several_nodes: bool):
        self._world, self._comm = comm, None
        self._possible = several_nodes and why_no_thread() is None

    def connect(self, rank_statuses: Statuses) -> QueryThread | None:
        """Return a new query thread, or None if none is needed or possible; all ranks call it together."""
        if self._possible and self._comm is None:
            self._comm = self._world.Dup()
        return QueryThread(self._comm, rank_statuses) if self._possible else None
