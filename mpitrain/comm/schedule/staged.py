"""Schedules on a device's memory staged through the host in segments: copies, messages and sums overlap.

Each outgoing segment is copied down and then sent; each incoming segment is received, copied up and added on the
device. All are listed in the schedule's order (``segments.py``), and four counts give the progress of each stage:

    copied ... copies down that are queued      posted ... receives that are posted
    sent ..... messages that are started        taken .... received segments whose copy up and sum are queued

``poll`` advances each count as far as possible without waiting. Events keep the order on the device; the host tests
events only where MPI reads or writes memory.
"""

import functools
import itertools
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from mpi4py import MPI

from ...collectives import OPERATORS, Algorithm, Schedule, make_algorithm
from ...collectives.layout import Counts
from ...collectives.operators import check_operator
from .plan import MAX_MESSAGE_BYTES, SPINS
from .rounds import Call, Memory
from .segments import Cut, Segment, Transfer, cut_transfers
from .staging import HostStaging


class Outgoing(NamedTuple):
    """An outgoing segment: calls that copy it down, its message, and how many segments must have been taken before."""

    copies: list[Call]
    request: Any
    after: int


class Incoming(NamedTuple):
    """An incoming segment: its message, calls that copy it up and add it, and how many must have been sent before."""

    request: Any
    calls: list[Call]
    after: int


class StagedPlan:
    """A schedule bound to a communicator and a buffer of a device; its parameters and attributes are those of ``Plan``.

    Memory: page-locked, for the segments of two rounds in each direction; on the device, for one segment.
    """

    def __init__(
        self,
        comm: Any,
        algorithm: Algorithm | Schedule,
        buffer: Any,
        *,
        staging: HostStaging,
        op: str = "sum",
        counts: Counts | None = None,
        tag: int = 0,
        yield_cpu: bool = False,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ):
        algorithm = make_algorithm(algorithm)
        check_operator(op)
        self.algorithm = algorithm.name
        self._comm, self.tag, self._yield_cpu = comm, tag, yield_cpu
        self._staging = lane = staging.lane()
        memory = Memory(algorithm, comm.size, buffer, counts)
        self.result, self._own = memory.result, memory.own(comm.rank)
        cut = Cut(buffer.itemsize, max_message_bytes)
        going, coming = self._cut(algorithm, memory, cut)
        self._outgoing, self._landing = (_Slots(lane, buffer, segments) for segments in (going, coming))
        self._lifted = np.empty_like(
            buffer, shape=max((segment.size for segment in coming if segment.reduce), default=0)
        )
        combine = lane.combines_by(OPERATORS[op])
        self._going = [self._to_go(number, segment, memory) for number, segment in enumerate(going)]
        self._coming = [self._to_come(number, segment, memory, combine) for number, segment in enumerate(coming)]
        self._requests = [segment.request for segment in self._going] + [segment.request for segment in self._coming]
        self._copy_events: list[Any] = [None] * len(going)
        self._add_events: list[Any] = [None] * len(coming)
        self._copied = self._sent = len(going)
        self._posted = self._taken = len(coming)
        self._over = True
        self.messages = len(going)
        self.bytes_sent = sum(segment.size for segment in going) * buffer.itemsize

    def _cut(self, algorithm: Algorithm, memory: Memory, cut: Cut) -> tuple[list[Segment], list[Segment]]:
        going, coming = [], []
        for number, step in enumerate(algorithm(self._comm.rank, self._comm.size)):
            if step.send_to is not None:
                going.append(Transfer(number, step.send_to, memory.spans(step.send)))
            if step.recv_from is not None:
                coming.append(Transfer(number, step.recv_from, memory.spans(step.recv), step.reduce))
        return cut_transfers(going, coming, cut, even_if_empty=algorithm.collective == "barrier")

    def _to_go(self, number: int, segment: Segment, memory: Memory) -> Outgoing:
        message = self._outgoing.part(number, segment)
        copies: list[Call] = []
        for part, source in _matched(message, segment, memory):
            copies.append(functools.partial(self._staging.copy_out, part, source))
        request = self._comm.Send_init([message.view(np.uint8), MPI.BYTE], segment.peer, self.tag)
        return Outgoing(copies, request, segment.after)

    def _to_come(self, number: int, segment: Segment, memory: Memory, combine: Any) -> Incoming:
        message = self._landing.part(number, segment)
        arrived, put = message, self._staging.copy_in
        calls: list[Call] = []
        if segment.reduce and segment.size:
            arrived, put = self._lifted[: segment.size], combine
            calls.append(functools.partial(self._staging.copy_in, arrived, message))
        for part, target in _matched(arrived, segment, memory):
            calls.append(functools.partial(put, target, part))
        request = self._comm.Recv_init([message.view(np.uint8), MPI.BYTE], segment.peer, self.tag)
        return Incoming(request, calls, segment.after)

    def start(self) -> None:
        """Queue the first copies and post the first receives."""
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
        """Advance every stage as far as possible without waiting; True when all is done."""
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
        """Queue copies of segments whose elements are final, or will be by then, into free slots."""
        while self._copied < len(self._going):
            number, segment = self._copied, self._going[self._copied]
            if segment.after > self._taken or not self._is_sent(number - self._outgoing.count):
                return
            if segment.after:
                self._staging.wait_down(self._add_events[segment.after - 1])
            for copy in segment.copies:
                copy()
            self._copy_events[number] = self._staging.copied()
            self._copied += 1

    def _send(self) -> None:
        """Send the segments that are copied down."""
        while self._sent < self._copied and self._copy_events[self._sent].done():
            self._going[self._sent].request.Start()
            self._sent += 1

    def _post(self) -> None:
        """Post receives into slots whose last segment is copied up."""
        while self._posted < len(self._coming):
            before = self._posted - self._landing.count
            if before >= 0 and not (before < self._taken and self._add_events[before].done()):
                return
            self._coming[self._posted].request.Start()
            self._posted += 1

    def _take(self) -> None:
        """Queue copies up and sums of received segments, once no outgoing segment still reads their elements."""
        while self._taken < self._posted:
            segment = self._coming[self._taken]
            if segment.after > self._sent or not segment.request.Test():
                return
            for call in segment.calls:
                call()
            self._add_events[self._taken] = self._staging.added()
            self._taken += 1

    def _is_sent(self, number: int) -> bool:
        """Return whether an outgoing segment (or a number below the first) is sent, so that its slot is free."""
        return number < 0 or (number < self._sent and bool(self._going[number].request.Test()))

    def wait(self) -> None:
        """Wait until all is done."""
        while not any(self.poll() for _ in range(SPINS)):
            if self._yield_cpu:
                os.sched_yield()
            else:
                self._rest()

    def _rest(self) -> None:
        """Wait for a copy, which no other rank can delay, or else for any message."""
        before = self._posted - self._landing.count
        if self._sent < self._copied:
            self._copy_events[self._sent].wait()
        elif self._posted < len(self._coming) and 0 <= before < self._taken:
            self._add_events[before].wait()
        else:
            MPI.Request.Waitany(self._requests)  # inactive requests are ignored

    def free(self) -> None:
        """Free the requests (not after an error, when freeing can hang)."""
        for request in self._requests:
            request.Free()
        self._going, self._coming, self._requests = [], [], []
        self._copied = self._sent = self._posted = self._taken = 0
        self._over = True


class _Slots:
    """Page-locked memory for the segments of two rounds; segment n reuses the slot of segment n - ``count``."""

    def __init__(self, staging: HostStaging, like: Any, segments: list[Segment]):
        of_a_round = [sum(1 for _ in group) for _, group in itertools.groupby(segments, lambda segment: segment.number)]
        self.count = min(len(segments), 2 * max(of_a_round, default=0))
        self._size = max((segment.size for segment in segments), default=0)
        self._memory = staging.memory(self.count * self._size, like)

    def part(self, number: int, segment: Segment) -> np.ndarray:
        """Return the memory of a segment."""
        first = number % self.count * self._size
        return self._memory[first : first + segment.size]


def _matched(message: Any, segment: Segment, memory: Memory) -> Iterator[tuple[Any, Any]]:
    """Yield the parts of a message with the corresponding parts of the buffers."""
    first = 0
    for span in segment.spans:
        size = span.stop - span.start
        yield message[first : first + size], memory.view(span)
        first += size
