"""Run a schedule over MPI on the caller's buffer: nothing is copied but what is reduced.

A plan is made once for a buffer and started as often as wanted: views are cut, receive buffers allocated and
persistent requests set up at planning time, so that a round costs one Startall, its tests and one addition. The
addition of one round runs while the messages of the next are on their way, where the two touch different chunks.
"""

import itertools
import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI

from ..collectives import OPERATORS, Algorithm, Chunks, Schedule, Step, as_chunks, chunk_bounds, make_algorithm
from ..collectives.operators import Operator, check_operator
from ..collectives.step import chunk_runs

MAX_MESSAGE_BYTES = 1 << 30  # a longer message is sent in pieces: some MPI libraries count bytes in an int


class Request(Protocol):
    """Something started: ``poll()`` moves it along and says whether it is done, ``wait()`` ends it."""

    algorithm: str
    messages: int
    bytes_sent: int

    def start(self) -> None:
        """Start it (again)."""

    def poll(self) -> bool:
        """Do what can be done without waiting; True when all is done."""

    def wait(self) -> None:
        """Return when it is done."""

    def free(self) -> None:
        """Give back what it holds."""


class Plan:
    """A schedule bound to a communicator and a buffer.

    Parameters
    ----------
    comm : MPI.Comm
        Of its own to the library: no foreign messages.
    algorithm : Algorithm or Schedule
    buffer : (n,) contiguous array
        Worked on in place; it must stay untouched between ``start`` and the end. For all_to_all, n is a multiple
        of P; for a barrier, n is 0.
    op : str
        sum, max, min or adasum.
    tag : int
        Distinguishes the plans that are in flight together.
    yield_cpu : bool
        Give the core away while waiting: right when ranks outnumber cores.

    Attributes
    ----------
    result : (n,) array
        What the collective is for: ``buffer``, except for all_to_all, which does not work in place.
    """

    def __init__(
        self,
        comm: Any,
        algorithm: Algorithm | Schedule,
        buffer: np.ndarray,
        *,
        op: str = "sum",
        tag: int = 0,
        yield_cpu: bool = False,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ):
        algorithm = make_algorithm(algorithm)
        check_operator(op, algorithm, comm.size)
        self.algorithm = algorithm.name
        self._yield_cpu = yield_cpu
        steps = list(algorithm(comm.rank, comm.size))
        memory = _Memory(algorithm, comm.size, buffer)
        self.result = memory.buffers[min(1, len(memory.buffers) - 1)]
        own = chunk_bounds(buffer.size, comm.size, comm.rank)
        self._own = [] if self.result is buffer else [(self.result[own], buffer[own])]
        landings = _landings(memory, steps, buffer)
        piece = max(1, max_message_bytes // buffer.itemsize)
        cut = _Cut(comm, memory, OPERATORS[op], tag, piece, even_if_empty=algorithm.collective == "barrier")
        rounds = (_Round(cut, step, landings[i % 2]) for i, step in enumerate(steps))
        self._rounds = [r for r in rounds if r.requests]
        for before, after in zip(self._rounds, self._rounds[1:]):
            after.early = not before.pending & after.touched
        self._at = len(self._rounds)
        self.messages = sum(r.messages for r in self._rounds)
        self.bytes_sent = sum(r.bytes_sent for r in self._rounds)

    def start(self) -> None:
        """Start the first round."""
        if self._at < len(self._rounds):
            raise RuntimeError("a plan was started while it is still in flight")
        for target, source in self._own:
            target[...] = source
        self._at = 0
        if self._rounds:
            self._rounds[0].start()

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
        complete = self._rounds[self._at]
        self._at += 1
        after = self._rounds[self._at] if self._at < len(self._rounds) else None
        if after is not None and after.early:
            after.start()
            complete.finish()
            return
        complete.finish()
        if after is not None:
            after.start()


class _Memory:
    """The buffers that the chunks of an algorithm are cut from: the caller's, and those of all_to_all beside it."""

    def __init__(self, algorithm: Algorithm, size: int, buffer: np.ndarray):
        if algorithm.buffers > 1 and buffer.size % size:
            raise ValueError(f"{algorithm.collective} of {buffer.size} elements over {size} ranks: must be a multiple")
        self.buffers = [buffer, *(np.empty_like(buffer) for _ in range(algorithm.buffers - 1))]
        self.chunks_each = algorithm.num_chunks(size) // algorithm.buffers

    def views(self, chunks: Chunks) -> list[np.ndarray]:
        """Return what ``chunks`` cover, in their order, one view for each piece that is contiguous."""
        views = []
        for run in chunk_runs(chunks):
            while run:
                number, first = divmod(run.start, self.chunks_each)
                stop = min(run.stop, (number + 1) * self.chunks_each)
                buffer, span = self.buffers[number], range(first, stop - number * self.chunks_each)
                views.append(buffer[chunk_bounds(buffer.size, self.chunks_each, span)])
                run = range(stop, run.stop)
        return views


class _Cut:
    """What all rounds of a plan have in common."""

    def __init__(
        self, comm: Any, memory: _Memory, combine: Operator, tag: int, longest: int, *, even_if_empty: bool
    ) -> None:
        self.comm, self.memory, self.combine, self.tag = comm, memory, combine, tag
        self._longest, self._even_if_empty = longest, even_if_empty

    def pieces(self, array: np.ndarray) -> list[np.ndarray]:
        """Return ``array`` as messages of bytes (MPI need not know its dtype); none if it is empty."""
        if not array.size:
            return [array.view(np.uint8)] if self._even_if_empty else []
        return [piece.view(np.uint8) for piece in cut_pieces(array, self._longest)]


class _Round:
    """One step made ready: its persistent requests, and what to copy or reduce before and after.

    Attributes
    ----------
    early : bool
        It can start before the round before it has finished.
    pending, touched : set of int
        Chunks that ``finish`` still changes; chunks that its messages read or write themselves.
    """

    def __init__(self, cut: _Cut, step: Step, landing: np.ndarray):
        self.requests: list[Any] = []
        self.messages = self.bytes_sent = 0
        self.early = False
        self.pending: set[int] = set()
        self.touched = set(as_chunks(step.send))
        self._combine = cut.combine if step.reduce else _copy
        self._before: list[tuple[np.ndarray, np.ndarray]] = []
        self._after: list[tuple[np.ndarray, np.ndarray]] = []
        if step.recv_from is not None:
            self._receive(cut, step, landing)
        if step.send_to is not None:
            self._send(cut, step)

    def _receive(self, cut: _Cut, step: Step, landing: np.ndarray) -> None:
        targets = cut.memory.views(step.recv)
        if _is_direct(step, targets):
            landed = targets[0] if targets else landing[:0]
            self.touched |= set(as_chunks(step.recv))
        else:
            landed = landing[: sum(t.size for t in targets)]
            self._after = list(zip(targets, _split(landed, targets), strict=True)) if landed.size else []
            self.pending = set(as_chunks(step.recv))
        for piece in cut.pieces(landed):
            self.requests.append(cut.comm.Recv_init([piece, MPI.BYTE], step.recv_from, cut.tag))

    def _send(self, cut: _Cut, step: Step) -> None:
        sources = cut.memory.views(step.send)
        source = sources[0] if len(sources) == 1 else np.empty_like(cut.memory.buffers[0], shape=_total(sources))
        if len(sources) > 1:
            self._before = list(zip(_split(source, sources), sources, strict=True))
        for piece in cut.pieces(source):
            self.requests.append(cut.comm.Send_init([piece, MPI.BYTE], step.send_to, cut.tag))
            self.messages += 1
        self.bytes_sent = source.nbytes

    def start(self) -> None:
        """Gather what does not lie in one piece, and start the messages."""
        for staged, source in self._before:
            staged[...] = source
        MPI.Prequest.Startall(self.requests)

    def finish(self) -> None:
        """Reduce or scatter what has landed."""
        for target, landed in self._after:
            self._combine(target, landed)


def _copy(target: np.ndarray, landed: np.ndarray) -> None:
    target[...] = landed


def _is_direct(step: Step, targets: Sequence[np.ndarray]) -> bool:
    """Return True for what can be received where it belongs."""
    return not step.reduce and len(targets) <= 1


def _landings(memory: _Memory, steps: list[Step], buffer: np.ndarray) -> list[np.ndarray]:
    """Return memory for what is not received where it belongs, twice: one may still be read while one is written."""
    longest = 0
    for step in steps:
        targets = memory.views(step.recv)
        longest = max(longest, 0 if _is_direct(step, targets) else _total(targets))
    return [np.empty_like(buffer, shape=longest) for _ in range(2)]


def _split(array: np.ndarray, like: Sequence[np.ndarray]) -> list[np.ndarray]:
    ends = np.cumsum([0, *(part.size for part in like)])
    return [array[a:b] for a, b in itertools.pairwise(ends)]


def _total(views: Sequence[np.ndarray]) -> int:
    return sum(view.size for view in views)


def cut_pieces(array: np.ndarray, longest: int) -> list[np.ndarray]:
    """Return ``array`` in pieces of at most ``longest`` elements."""
    return [array[i : i + longest] for i in range(0, array.size, longest)]
