"""Communicators and plans that record their calls and waits in the ledger."""

import contextlib
import os
import time
from collections.abc import Collection, Iterator
from typing import Any

from mpi4py import MPI

from ..made import note_comm
from ..schedule.plan import Request
from .history import History
from .ledger import Label, Ledger

BUFFERS = (
    *("Allgather", "Allgatherv", "Allreduce", "Alltoall", "Bcast", "Gather", "Recv", "Reduce"),
    *("Scatter", "Sendrecv"),
)
OBJECTS = (
    *("Barrier", "Create_group", "Dup", "Split", "Split_type"),
    *("allgather", "allreduce", "bcast", "gather", "scatter"),
)
MAKERS = ("Create_group", "Dup", "Split", "Split_type")
LONELY = ("Recv", "Sendrecv", "Create_group")  # calls that not all ranks of the communicator make
YIELDS = 200  # before a wait that a signal may end begins to sleep
FIRST_NAP, LONGEST_NAP = 5e-5, 2e-3  # seconds

_OPERATORS = {id(MPI.SUM): " (sum)", id(MPI.MAX): " (max)", id(MPI.MIN): " (min)"}


class WatchedComm(MPI.Intracomm):
    """A communicator whose blocking calls are recorded in ``ledger``, if it has one.

    Attributes
    ----------
    history : History or None
        History in which its calls are compared between its ranks.
    where : str
        " on axis NAME (RANKS)" in messages about its calls; empty if all ranks of the job are in it.
    """

    ledger: Ledger | None = None
    history: History | None = None
    where = ""

    @contextlib.contextmanager
    def noted(self, name: str, *args: Any) -> Iterator[None]:
        """Record the block as the blocking call ``name`` with these arguments."""
        if self.ledger is None:
            yield
            return
        num_bytes, dtype = _measure(args) if name in BUFFERS else (0, None)
        pretty = name.lower() + _OPERATORS.get(id(args[-1]), "") if args else name.lower()
        history = None if name in LONELY else self.history
        at = self.ledger.begin(self.ledger.call(pretty, num_bytes, dtype, history, self.where))
        try:
            if self.ledger.interruptible and name not in LONELY:
                self._gather_first()
            yield
        finally:
            self.ledger.end(at)

    def _gather_first(self) -> None:
        """Wait until all ranks make this call, in Python, where a signal ends the wait; the call is short then."""
        request, nap = self.Ibarrier(), FIRST_NAP
        for _ in range(YIELDS):
            if request.Test():
                return
            os.sched_yield()
        while not request.Test():
            time.sleep(nap)
            nap = min(2 * nap, LONGEST_NAP)


def _noted(name: str) -> Any:
    inner = getattr(MPI.Intracomm, name)

    def call(self: WatchedComm, *args: Any, **options: Any) -> Any:
        with self.noted(name, *args):
            found = inner(self, *args, **options)
        return note_comm(found) if name in MAKERS else found

    call.__name__, call.__doc__ = name, inner.__doc__
    return call


for _name in BUFFERS + OBJECTS:
    setattr(WatchedComm, _name, _noted(_name))


def _measure(args: tuple[Any, ...]) -> tuple[int, Any]:
    """Return bytes and dtype of the first array among the arguments of a call."""
    for argument in args:
        array = argument[0] if isinstance(argument, (list, tuple)) and argument else argument
        if argument is not MPI.IN_PLACE and hasattr(array, "dtype"):
            return array.nbytes, array.dtype
    return 0, None


class WatchedPlan:
    """A plan whose start, wait and end are recorded in the ledger.

    While it waits, it moves the messages of ``channels``: a stage of a pipeline that waits for ranks with other parts
    of its layers would otherwise hold up a message for which another stage, and in the end those ranks, may wait.
    """

    def __init__(self, plan: Request, ledger: Ledger, label: Label, channels: Collection[Any] = ()):
        self.plan, self._ledger, self._label, self._channels = plan, ledger, label, channels
        self.algorithm, self.messages, self.bytes_sent = plan.algorithm, plan.messages, plan.bytes_sent
        self._at = -1

    def start(self) -> None:
        """Start it (again)."""
        self._at = self._ledger.begin(self._label, waits=False)
        self.plan.start()

    def poll(self) -> bool:
        """Progress without waiting; True when all is done."""
        done = self.plan.poll()
        if done:
            self._over()
        return done

    def wait(self) -> None:
        """Wait until it is done."""
        if self._at >= 0:
            self._ledger.waits(self._at)
        busy = [channel for channel in self._channels if not channel.is_idle]
        if not busy and not self._ledger.interruptible:
            self.plan.wait()
        else:
            while not self.plan.poll():
                for channel in busy:
                    channel.poll()
                os.sched_yield()
        self._over()

    def free(self) -> None:
        """Release its resources."""
        self.plan.free()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plan, name)

    def _over(self) -> None:
        if self._at >= 0:
            self._ledger.end(self._at)
            self._at = -1
