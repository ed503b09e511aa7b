"""Segments of messages from a device's memory, by which copies, messages and sums of one buffer overlap. Pure.

A segment passes through three stages: it is copied to the host, sent, and copied up and added. While one is being sent,
the next is copied down and the previous one is added. In k segments, n bytes take

    (k + 3 - 1) (c + n / (k b))     seconds, which are fewest at    k = sqrt((3 - 1) n / (c b))

where b is the rate of the slowest stage, and c the cost of a segment of any length: a copy, an event, a message and
a launch, called from Python. Both ends know n, so both cut in the same way without a message about it.

The segments of all rounds are in two lists, outgoing and incoming, in the order of the schedule. They depend on each
other by the elements that they read and write, so that a segment waits for a segment, not a round for a round.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import NamedTuple

STAGES = 3
COST_BYTES = 1 << 19  # c b: 25 microseconds at 20 GB/s; a message of twice as many bytes is cut
STEP_BYTES = 256  # segments are multiples of it, so that those of an aligned message are aligned


def segment_elements(num_elements: int, itemsize: int, most_bytes: int) -> int:
    """Return the elements of each segment of a message, in at most ``most_bytes`` (the last one may have fewer).

    >>> [-(-n // segment_elements(n, 4, 1 << 30)) for n in (0, 1, 1 << 17, 1 << 18, 1 << 20, 1 << 24)]
    [0, 1, 1, 2, 4, 16]
    """
    count = max(1, isqrt((STAGES - 1) * num_elements * itemsize // COST_BYTES))
    step = max(1, STEP_BYTES // itemsize)
    each = -(-num_elements // (count * step)) * step
    return max(1, min(each, most_bytes // itemsize))


class Span(NamedTuple):
    """Elements of one of the buffers that chunks are cut from."""

    buffer: int
    start: int
    stop: int

    def meets(self, other: "Span") -> bool:
        """Return whether the two have elements in common."""
        return self.buffer == other.buffer and self.start < other.stop and other.start < self.stop


@dataclass(frozen=True)
class Transfer:
    """One step's message in one direction.

    Attributes
    ----------
    number : int
        Number of the step.
    peer : int
    spans : sequence of Span
        Elements in the order in which they are sent.
    reduce : bool
        Add incoming elements; otherwise overwrite.
    """

    number: int
    peer: int
    spans: Sequence[Span]
    reduce: bool = False

    @property
    def size(self) -> int:
        """Number of elements."""
        return sum(span.stop - span.start for span in self.spans)


@dataclass(frozen=True)
class Segment:
    """Part of a transfer that is sent as one message.

    Attributes
    ----------
    number, peer, spans, reduce
        Those of the transfer; the spans of this part.
    after : int
        Number of segments of the other list that come first: an outgoing segment is read when those have been added,
        an incoming one is added when those have been read.
    """

    number: int
    peer: int
    spans: tuple[Span, ...]
    reduce: bool
    after: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return sum(span.stop - span.start for span in self.spans)


def cut_spans(spans: Iterable[Span], each: int) -> list[tuple[Span, ...]]:
    """Return ``spans`` in segments of ``each`` elements.

    >>> cut_spans([Span(0, 0, 3), Span(0, 7, 9)], 4)
    [(Span(buffer=0, start=0, stop=3), Span(buffer=0, start=7, stop=8)), (Span(buffer=0, start=8, stop=9),)]
    """
    segments: list[list[Span]] = []
    room = 0
    for buffer, start, stop in spans:
        while start < stop:
            if not room:
                segments.append([])
                room = each
            end = min(stop, start + room)
            segments[-1].append(Span(buffer, start, end))
            room, start = room - (end - start), end
    return [tuple(segment) for segment in segments]


def cut_transfers(
    going: Sequence[Transfer], coming: Sequence[Transfer], cut: "Cut", even_if_empty: bool = False
) -> tuple[list[Segment], list[Segment]]:
    """Return the outgoing and the incoming segments in order, each with the number that it waits for.

    Outgoing elements of a step are those before the step. With ``even_if_empty``, an empty message is one segment.
    """
    parts = [
        [(transfer, spans) for transfer in way for spans in _parts(transfer, cut, even_if_empty)]
        for way in (going, coming)
    ]
    sent = [Segment(t.number, t.peer, spans, False, _last(parts[1], spans, t.number)) for t, spans in parts[0]]
    come = [Segment(t.number, t.peer, spans, t.reduce, _last(parts[0], spans, t.number + 1)) for t, spans in parts[1]]
    return sent, come


class Cut(NamedTuple):
    """Limits by which messages are cut.

    Attributes
    ----------
    itemsize : int
    most_bytes : int
        Longest segment.
    whole : bool
        Messages are cut at ``most_bytes`` only: no rank has a device.
    """

    itemsize: int
    most_bytes: int
    whole: bool = False

    def elements(self, num_elements: int) -> int:
        """Return the elements of each segment of a message."""
        if self.whole:
            return max(1, self.most_bytes // self.itemsize)
        return segment_elements(num_elements, self.itemsize, self.most_bytes)


def _parts(transfer: Transfer, cut: Cut, even_if_empty: bool) -> list[tuple[Span, ...]]:
    return cut_spans(transfer.spans, cut.elements(transfer.size)) or [()] * even_if_empty


def _last(others: list[tuple[Transfer, tuple[Span, ...]]], spans: tuple[Span, ...], before: int) -> int:
    """Return the number of ``others`` up to the last one of a step before ``before`` that meets ``spans``."""
    end = bisect_left(others, before, key=lambda other: other[0].number)
    for place in range(end, 0, -1):
        if any(span.meets(other) for span in spans for other in others[place - 1][1]):
            return place
    return 0
