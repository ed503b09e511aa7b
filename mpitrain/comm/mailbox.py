"""Messages of any length between any two ranks of a group, for programs that wait for work and not for each other."""

import os
import time
from collections.abc import Callable
from typing import Any

from mpi4py import MPI

from .group import Group

FIRST_NAP, LONGEST_NAP = 5e-5, 2e-3  # seconds
PATIENCE = 0.05  # part of the time it has waited for which a rank naps: it is late by that, at most


class Mailbox:
    """Messages between the ranks of a group, on a communicator that carries nothing else.

    Messages are Python objects, which mpi4py pickles. Those of one sender arrive in the order in which they were sent.
    A rank that waits sleeps between two looks, a little longer the longer it waits, so that it leaves its core to the
    others; no wait is recorded in the ledger, since to wait for work is no fault.

    Parameters
    ----------
    group : Group
        All of its ranks make the mailbox together. One thread of a rank uses it.

    Attributes
    ----------
    rank, size : int
        This rank in the group, and the number of ranks.
    lost : frozenset of int
        Ranks that are lost, where MPI lets the others continue (Open MPI with ULFM).

    Examples
    --------
    >>> mailbox = Mailbox(Group(MPI.COMM_SELF, "all"))
    >>> mailbox.send({"samples": 3}, 0)
    >>> mailbox.wait()
    (0, {'samples': 3})
    >>> mailbox.poll() is None
    True
    """

    def __init__(self, group: Group) -> None:
        self._comm = MPI.Intracomm(group._comm.Dup())
        self.rank, self.size = group.rank, group.size
        self.lost: frozenset[int] = frozenset()
        self._sent: list[MPI.Request] = []
        self._parent = os.getppid()

    def send(self, item: Any, peer: int) -> None:
        """Begin to send ``item``; it may be changed at once. A lost rank gets nothing."""
        self._progress()
        if peer in self.lost:
            return
        try:
            self._sent.append(self._comm.isend(item, peer))
        except MPI.Exception:
            if peer not in self._find_lost():
                raise

    def poll(self) -> tuple[int, Any] | None:
        """Return the rank of a sender and its message; None if none has come."""
        self._progress()
        try:
            message = self._comm.improbe(MPI.ANY_SOURCE, status=(status := MPI.Status()))
            return None if message is None else (status.source, message.recv())
        except MPI.Exception:
            if not self._find_lost():
                raise
            return None

    def wait(self, rest: Callable[[float], Any] = time.sleep) -> tuple[int, Any] | None:
        """Return the rank of a sender and its message, as soon as there is one; None without a launcher or rank 0.

        Parameters
        ----------
        rest : callable(seconds)
            Called between two looks.
        """
        began = time.monotonic()
        while (found := self.poll()) is None:
            rest(nap(time.monotonic() - began))
            if os.getppid() != self._parent or 0 in self.lost:
                return None
        return found

    @property
    def is_idle(self) -> bool:
        """True if all that was sent is on its way, and needs this rank no more."""
        self._progress()
        return not self._sent

    def _progress(self) -> None:
        """Let MPI move long messages, and forget those that are sent, or whose receiver is lost."""
        left = []
        for request in self._sent:
            try:
                if not request.Test():
                    left.append(request)
            except MPI.Exception:
                if not self._find_lost():
                    raise
        self._sent = left

    def _find_lost(self) -> frozenset[int]:
        """Return all ranks that are lost, where MPI lets the others continue (ULFM); none where it has failed else."""
        try:
            failed = self._comm.Get_failed()
            self._comm.Ack_failed()
        except (MPI.Exception, NotImplementedError):  # mpi4py's error for an MPI library without ULFM, such as MPICH
            return frozenset()
        own = self._comm.Get_group()
        self.lost = frozenset(failed.Translate_ranks(None, own))
        failed.Free()
        own.Free()
        return self.lost

    def free(self) -> None:
        """Free the communicator; all ranks call it together, when no message is on its way."""
        self._comm.Free()


def nap(waited: float) -> float:
    """Return the seconds to sleep after having waited for some.

    >>> nap(0.0), nap(0.01), nap(60.0)
    (5e-05, 0.0005, 0.002)
    """
    return min(max(FIRST_NAP, PATIENCE * waited), LONGEST_NAP)
