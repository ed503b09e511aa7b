"""Run a schedule over MPI on the caller's buffer: nothing is copied but what is reduced.

A plan is made once for a buffer and started as often as wanted: views are cut, receive buffers allocated and
persistent requests set up at planning time, so that a round costs one Startall, its tests and one addition.
"""

import os
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI

from ..collectives import Schedule, Step, chunk_bounds

MAX_MESSAGE_BYTES = 1 << 30  # a longer message is sent in pieces: some MPI libraries count bytes in an int


class Request(Protocol):
    """Something started: ``poll()`` moves it along and says whether it is done, ``wait()`` ends it."""

    def start(self) -> None:
        """Start it (again)."""

    def poll(self) -> bool:
        """Do what can be done without waiting; True when all is done."""

    def wait(self) -> None:
        """Return when it is done."""


class Plan:
    """A schedule bound to a communicator and a buffer.

    Parameters
    ----------
    comm : MPI.Comm
        Of its own to the library: no foreign messages.
    schedule : Schedule
    buffer : (n,) contiguous array
        Reduced in place; it must stay untouched between ``start`` and the end.
    tag : int
        Distinguishes the plans that are in flight together.
    yield_cpu : bool
        Give the core away while waiting: right when ranks outnumber cores.
    """

    def __init__(
        self,
        comm: Any,
        schedule: Schedule,
        buffer: np.ndarray,
        *,
        tag: int = 0,
        yield_cpu: bool = False,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ):
        self._yield_cpu = yield_cpu
        steps = list(schedule(comm.rank, comm.size))
        bounds = [chunk_bounds(buffer.size, comm.size, step.recv) for step in steps if step.reduce]
        longest = max((b.stop - b.start for b in bounds), default=0)
        landing = np.empty(longest, buffer.dtype)
        piece = max(1, max_message_bytes // buffer.itemsize)
        rounds = (_Round(comm, step, buffer, landing, tag, piece) for step in steps)
        self._rounds = [r for r in rounds if r.requests]
        self._at = len(self._rounds)
        self.messages = sum(r.messages for r in self._rounds)
        self.bytes_sent = sum(r.bytes_sent for r in self._rounds)

    def start(self) -> None:
        """Start the first round."""
        if self._at < len(self._rounds):
            raise RuntimeError("a plan was started while it is still in flight")
        self._at = 0
        if self._rounds:
            MPI.Prequest.Startall(self._rounds[0].requests)

    def poll(self) -> bool:
        """Go through all rounds that are complete without waiting; True when the last one is."""
        while self._at < len(self._rounds):
            if not MPI.Request.Testall(self._rounds[self._at].requests):
                return False
            self._advance()
        return True

    def wait(self) -> None:
        """Go through the remaining rounds."""
        if self._yield_cpu:
            while not self.poll():
                os.sched_yield()
            return
        while self._at < len(self._rounds):
            MPI.Request.Waitall(self._rounds[self._at].requests)
            self._advance()

    def free(self) -> None:
        """Give the requests back to MPI (not after an error: freeing them then can hang)."""
        for r in self._rounds:
            for request in r.requests:
                request.Free()
        self._rounds = []
        self._at = 0

    def _advance(self) -> None:
        self._rounds[self._at].finish()
        self._at += 1
        if self._at < len(self._rounds):
            MPI.Prequest.Startall(self._rounds[self._at].requests)


class _Round:
    """One step made ready: its persistent requests, and what to add where when they are complete."""

    def __init__(self, comm: Any, step: Step, buffer: np.ndarray, landing: np.ndarray, tag: int, piece: int):
        self.requests: list[Any] = []
        self.messages = self.bytes_sent = 0
        self._target = self._landed = landing[:0]
        if step.recv_from is not None:
            target = buffer[chunk_bounds(buffer.size, comm.size, step.recv)]
            landed = landing[: target.size] if step.reduce else target
            for part in _pieces(landed, piece):
                self.requests.append(comm.Recv_init(part, step.recv_from, tag))
            if step.reduce:
                self._target, self._landed = target, landed
        if step.send_to is not None:
            source = buffer[chunk_bounds(buffer.size, comm.size, step.send)]
            for part in _pieces(source, piece):
                self.requests.append(comm.Send_init(part, step.send_to, tag))
                self.messages += 1
            self.bytes_sent = source.nbytes

    def finish(self) -> None:
        """Add what has landed."""
        if self._landed.size:
            np.add(self._target, self._landed, out=self._target)


class NativePlan:
    """The same face for MPI_Iallreduce: what the MPI library itself does."""

    def __init__(
        self, comm: Any, buffer: np.ndarray, *, yield_cpu: bool = False, max_message_bytes: int = MAX_MESSAGE_BYTES
    ):
        self._comm = comm
        self._yield_cpu = yield_cpu
        self._parts = _pieces(buffer, max(1, max_message_bytes // buffer.itemsize)) if comm.size > 1 else []
        self._requests: list[Any] = []
        self.messages = len(self._parts)
        self.bytes_sent = buffer.nbytes if self._parts else 0

    def start(self) -> None:
        """Start one MPI_Iallreduce for each piece."""
        self._requests = [self._comm.Iallreduce(MPI.IN_PLACE, part) for part in self._parts]

    def poll(self) -> bool:
        """Test all pieces."""
        return bool(MPI.Request.Testall(self._requests))

    def wait(self) -> None:
        """Wait for all pieces."""
        if self._yield_cpu:
            while not self.poll():
                os.sched_yield()
        else:
            MPI.Request.Waitall(self._requests)

    def free(self) -> None:
        """Nothing is kept between starts."""


def _pieces(array: np.ndarray, longest: int) -> list[np.ndarray]:
    return [array[i : i + longest] for i in range(0, array.size, longest)]
