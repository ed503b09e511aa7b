"""Run a schedule on a device's memory by way of the host, in pieces: copies, messages and sums at the same time.

Every piece that goes is copied down, then sent; every piece that comes lands, then is copied up and added on the
device. All are listed in the schedule's order (``pieces.py``), and four counts say how far each stage has come:

    copied ... what goes has been asked to come down      posted ... a place is there for what comes
    sent ..... it has come, and was given to MPI          taken .... it has landed, and was asked to go up and be added

``poll`` moves each count as far as it goes without waiting. The device itself keeps the order of what was asked of it,
by events; the host asks which events are behind it only where MPI reads or writes memory.
"""

import functools
import itertools
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from mpi4py import MPI

from ...collectives import OPERATORS, Algorithm, Schedule, make_algorithm
from ...collectives.operators import check_operator
from .plan import MAX_MESSAGE_BYTES, SPINS
from .rounds import Call, Memory, own_chunk
from .segments import Cut, Piece, Transfer, cut_transfers
from .staging import HostStaging


class Going(NamedTuple):
    """A piece that goes: the calls that copy it down, its message, and how many pieces must have been taken before."""

    copies: list[Call]
    request: Any
    after: int


class Coming(NamedTuple):
    """A piece that comes: its message, the calls that bring it up and in, and how many must have been sent before."""

    request: Any
    calls: list[Call]
    after: int


class StagedPlan:
    """A schedule bound to a communicator and a buffer of a device; its parameters and attributes are those of ``Plan``.

    Memory: page-locked, for the pieces of two rounds in each direction; on the device, for one piece.
    """

    def __init__(
        self,
        comm: Any,
        algorithm: Algorithm | Schedule,
        buffer: Any,
        *,
        staging: HostStaging,
        op: str = "sum",
        tag: int = 0,
        yield_cpu: bool = False,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ):
        algorithm = make_algorithm(algorithm)
        check_operator(op)
        self.algorithm = algorithm.name
        self._comm, self._tag, self._yield_cpu = comm, tag, yield_cpu
        self._staging = lane = staging.lane()
        memory = Memory(algorithm, comm.size, buffer)
        self.result = memory.buffers[min(1, len(memory.buffers) - 1)]
        self._own = own_chunk(comm, buffer, self.result)
        cut = Cut(buffer.itemsize, max_message_bytes)
        going, coming = self._cut(algorithm, memory, cut)
        self._outgoing, self._landing = (_Slots(lane, buffer, pieces) for pieces in (going, coming))
        self._lifted = np.empty_like(buffer, shape=max((piece.size for piece in coming if piece.reduce), default=0))
        combine = lane.combines_by(OPERATORS[op])
        self._going = [self._to_go(number, piece, memory) for number, piece in enumerate(going)]
        self._coming = [self._to_come(number, piece, memory, combine) for number, piece in enumerate(coming)]
        self._requests = [piece.request for piece in self._going] + [piece.request for piece in self._coming]
        self._copy_events: list[Any] = [None] * len(going)
        self._add_events: list[Any] = [None] * len(coming)
        self._copied = self._sent = len(going)
        self._posted = self._taken = len(coming)
        self._over = True
        self.messages = len(going)
        self.bytes_sent = sum(piece.size for piece in going) * buffer.itemsize

    def _cut(self, algorithm: Algorithm, memory: Memory, cut: Cut) -> tuple[list[Piece], list[Piece]]:
        going, coming = [], []
        for number, step in enumerate(algorithm(self._comm.rank, self._comm.size)):
            if step.send_to is not None:
                going.append(Transfer(number, step.send_to, memory.spans(step.send)))
            if step.recv_from is not None:
                coming.append(Transfer(number, step.recv_from, memory.spans(step.recv), step.reduce))
        return cut_transfers(going, coming, cut, even_if_empty=algorithm.collective == "barrier")

    def _to_go(self, number: int, piece: Piece, memory: Memory) -> Going:
        message = self._outgoing.part(number, piece)
        copies: list[Call] = []
        for part, source in _matched(message, piece, memory):
            copies.append(functools.partial(self._staging.copy_out, part, source))
        request = self._comm.Send_init([message.view(np.uint8), MPI.BYTE], piece.peer, self._tag)
        return Going(copies, request, piece.after)

    def _to_come(self, number: int, piece: Piece, memory: Memory, combine: Any) -> Coming:
        message = self._landing.part(number, piece)
        arrived, put = message, self._staging.copy_in
        calls: list[Call] = []
        if piece.reduce and piece.size:
            arrived, put = self._lifted[: piece.size], combine
            calls.append(functools.partial(self._staging.copy_in, arrived, message))
        for part, target in _matched(arrived, piece, memory):
            calls.append(functools.partial(put, target, part))
        request = self._comm.Recv_init([message.view(np.uint8), MPI.BYTE], piece.peer, self._tag)
        return Coming(request, calls, piece.after)

    def start(self) -> None:
        """Ask for the first copies, and make place for what comes."""
        if not self._over:
            raise RuntimeError("a plan was started while it is still in flight")
        for target, source in self._own:
            target[...] = source
        if not self._going and not self._coming:
            return
        self._copied = self._sent = self._posted = self._taken = 0
        self._over = False
        self._staging.begin()
        self._copy()
        self._post()

    def poll(self) -> bool:
        """Move every stage as far as it goes without waiting; True when all is done."""
        if self._over:
            return True
        before = -1
        while before != (before := self._copied + self._sent + self._posted + self._taken):
            self._copy()
            self._send()
            self._post()
            self._take()
        if self._sent < len(self._going) or self._taken < len(self._coming):
            return False
        if not all(self._is_sent(number) for number in range(max(0, self._sent - self._outgoing.count), self._sent)):
            return False
        self._staging.end()
        self._over = True
        return True

    def _copy(self) -> None:
        """Ask for copies of pieces whose elements are final, or will be by then, into places that are free."""
        while self._copied < len(self._going):
            number, piece = self._copied, self._going[self._copied]
            if piece.after > self._taken or not self._is_sent(number - self._outgoing.count):
                return
            if piece.after:
                self._staging.wait_down(self._add_events[piece.after - 1])
            for copy in piece.copies:
                copy()
            self._copy_events[number] = self._staging.copied()
            self._copied += 1

    def _send(self) -> None:
        """Send what has come down."""
        while self._sent < self._copied and self._copy_events[self._sent].done():
            self._going[self._sent].request.Start()
            self._sent += 1

    def _post(self) -> None:
        """Make place for what comes, where what lay there has gone up."""
        while self._posted < len(self._coming):
            before = self._posted - self._landing.count
            if before >= 0 and not (before < self._taken and self._add_events[before].done()):
                return
            self._coming[self._posted].request.Start()
            self._posted += 1

    def _take(self) -> None:
        """Ask for what has landed to go up and be added, where nothing that goes is still to be read."""
        while self._taken < self._posted:
            piece = self._coming[self._taken]
            if piece.after > self._sent or not piece.request.Test():
                return
            for call in piece.calls:
                call()
            self._add_events[self._taken] = self._staging.added()
            self._taken += 1

    def _is_sent(self, number: int) -> bool:
        """Return whether a piece that goes, or that there never was, has left its place."""
        return number < 0 or (number < self._sent and bool(self._going[number].request.Test()))

    def wait(self) -> None:
        """Return when it is done."""
        while not any(self.poll() for _ in range(SPINS)):
            if self._yield_cpu:
                os.sched_yield()
            else:
                self._rest()

    def _rest(self) -> None:
        """Wait for what comes first: a copy, which nobody else can hold up, or else any message."""
        before = self._posted - self._landing.count
        if self._sent < self._copied:
            self._copy_events[self._sent].wait()
        elif self._posted < len(self._coming) and 0 <= before < self._taken:
            self._add_events[before].wait()
        else:
            MPI.Request.Waitany(self._requests)  # those that are not started do not count

    def free(self) -> None:
        """Give the requests back to MPI (not after an error: freeing them then can hang)."""
        for request in self._requests:
            request.Free()
        self._going, self._coming, self._requests = [], [], []
        self._copied = self._sent = self._posted = self._taken = 0
        self._over = True


class _Slots:
    """Page-locked memory for the pieces of two rounds; piece n takes the place of piece n - ``count``."""

    def __init__(self, staging: HostStaging, like: Any, pieces: list[Piece]):
        of_a_round = [sum(1 for _ in group) for _, group in itertools.groupby(pieces, lambda piece: piece.number)]
        self.count = min(len(pieces), 2 * max(of_a_round, default=0))
        self._size = max((piece.size for piece in pieces), default=0)
        self._memory = staging.memory(self.count * self._size, like)

    def part(self, number: int, piece: Piece) -> np.ndarray:
        """Return the memory of a piece."""
        first = number % self.count * self._size
        return self._memory[first : first + piece.size]


def _matched(message: Any, piece: Piece, memory: Memory) -> Iterator[tuple[Any, Any]]:
    """Yield the parts of a message with the parts of the buffers that they belong to."""
    first = 0
    for span in piece.spans:
        size = span.stop - span.start
        yield message[first : first + size], memory.view(span)
        first += size
