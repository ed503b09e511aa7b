"""How the messages of a device's memory are cut, so that copies, messages and sums of one buffer overlap. Pure.

A piece goes through three stages: it is copied to the host, sent, copied up and added. While one is on the wire, the
next is copied down and the one before it is added. Cut into k pieces, n bytes take

    (k + 3 - 1) (c + n / (k b))     seconds, which are fewest at    k = sqrt((3 - 1) n / (c b))

where b is the rate of the slowest stage, and c what a piece costs whatever its length: a copy, an event, a message and
a launch, called from Python. Both sides know n, so both cut alike and nobody needs to tell.

Pieces of all rounds stand in two lists, of those that go and of those that come, in the order of the schedule. What
binds them is which elements they read and write, so that a piece waits for a piece, and not a round for a round.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import NamedTuple

STAGES = 3
COST_BYTES = 1 << 19  # c b: 25 microseconds at 20 GB/s; from twice as many bytes on a message is cut
STEP_BYTES = 256  # pieces are multiples of it: those of a message that begins well begin well


def piece_elements(num_elements: int, itemsize: int, most_bytes: int) -> int:
    """Return how many elements each piece of a message has (the last may have fewer), at most ``most_bytes`` of them.

    >>> [-(-n // piece_elements(n, 4, 1 << 30)) for n in (0, 1, 1 << 17, 1 << 18, 1 << 20, 1 << 24)]
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
        """Return whether they have elements in common."""
        return self.buffer == other.buffer and self.start < other.stop and other.start < self.stop


@dataclass(frozen=True)
class Transfer:
    """One step's message in one direction.

    Attributes
    ----------
    number : int
        Of the step.
    peer : int
    spans : sequence of Span
        In the order in which they travel.
    reduce : bool
        What comes is added; otherwise it overwrites.
    """

    number: int
    peer: int
    spans: Sequence[Span]
    reduce: bool = False

    @property
    def size(self) -> int:
        """Elements."""
        return sum(span.stop - span.start for span in self.spans)


@dataclass(frozen=True)
class Piece:
    """A part of a transfer that is one message of its own.

    Attributes
    ----------
    number, peer, spans, reduce
        Of the transfer; the spans of this part.
    after : int
        So many pieces of the other list come first: a piece that goes is read when those have been added, one that
        comes is added when those have been read.
    """

    number: int
    peer: int
    spans: tuple[Span, ...]
    reduce: bool
    after: int

    @property
    def size(self) -> int:
        """Elements."""
        return sum(span.stop - span.start for span in self.spans)


def cut_spans(spans: Iterable[Span], each: int) -> list[tuple[Span, ...]]:
    """Return ``spans`` in pieces of ``each`` elements.

    >>> cut_spans([Span(0, 0, 3), Span(0, 7, 9)], 4)
    [(Span(buffer=0, start=0, stop=3), Span(buffer=0, start=7, stop=8)), (Span(buffer=0, start=8, stop=9),)]
    """
    pieces: list[list[Span]] = []
    room = 0
    for buffer, start, stop in spans:
        while start < stop:
            if not room:
                pieces.append([])
                room = each
            end = min(stop, start + room)
            pieces[-1].append(Span(buffer, start, end))
            room, start = room - (end - start), end
    return [tuple(piece) for piece in pieces]


def cut_transfers(
    going: Sequence[Transfer], coming: Sequence[Transfer], cut: "Cut", even_if_empty: bool = False
) -> tuple[list[Piece], list[Piece]]:
    """Return the pieces that go and those that come, in order, each with what it must wait for.

    Within a step, what goes is as it was before the step. ``even_if_empty``: a message of nothing is one piece.
    """
    parts = [
        [(transfer, spans) for transfer in way for spans in _parts(transfer, cut, even_if_empty)]
        for way in (going, coming)
    ]
    sent = [Piece(t.number, t.peer, spans, False, _last(parts[1], spans, t.number)) for t, spans in parts[0]]
    come = [Piece(t.number, t.peer, spans, t.reduce, _last(parts[0], spans, t.number + 1)) for t, spans in parts[1]]
    return sent, come


class Cut(NamedTuple):
    """By what messages are cut.

    Attributes
    ----------
    itemsize : int
    most_bytes : int
        Of a piece.
    whole : bool
        Messages are not cut (but for ``most_bytes``): no rank has a device.
    """

    itemsize: int
    most_bytes: int
    whole: bool = False

    def elements(self, num_elements: int) -> int:
        """Return the elements of each piece of a message."""
        if self.whole:
            return max(1, self.most_bytes // self.itemsize)
        return piece_elements(num_elements, self.itemsize, self.most_bytes)


def _parts(transfer: Transfer, cut: Cut, even_if_empty: bool) -> list[tuple[Span, ...]]:
    return cut_spans(transfer.spans, cut.elements(transfer.size)) or [()] * even_if_empty


def _last(others: list[tuple[Transfer, tuple[Span, ...]]], spans: tuple[Span, ...], before: int) -> int:
    """Return how many of ``others`` there are up to the last one of a step before ``before`` that meets ``spans``."""
    end = bisect_left(others, before, key=lambda other: other[0].number)
    for place in range(end, 0, -1):
        if any(span.meets(other) for span in spans for other in others[place - 1][1]):
            return place
    return 0
