"""Steps of a schedule: one rank's messages in one round."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

Chunks = int | range | tuple[int | range, ...] | None


class Step(NamedTuple):
    """One round of one rank: send something, receive something, or both at the same time.

    The buffer of n elements is cut into chunks of nearly equal length (some may be empty): one for each rank,
    unless the algorithm says otherwise. A step sends chunks as they are when it starts, and what it receives is
    in place when it ends.

    Attributes
    ----------
    send_to, recv_from : int or None
        Peer ranks; None where that side is idle.
    send, recv : int, range, tuple of int and range, or None
        A chunk, a range of neighboring chunks, or several of both in the order in which they travel.
    reduce : bool
        Add what is received to what is there; otherwise overwrite it.
    """

    send_to: int | None = None
    send: Chunks = None
    recv_from: int | None = None
    recv: Chunks = None
    reduce: bool = False


Schedule = Callable[[int, int], Iterator[Step]]
"""A collective algorithm: ``schedule(rank, size)`` yields the steps of one rank."""


def as_chunks(chunks: Chunks) -> Sequence[int]:
    """Return ``chunks`` as a sequence of chunk numbers (empty for None)."""
    if isinstance(chunks, range):
        return chunks
    if chunks is None:
        return range(0)
    if isinstance(chunks, tuple):
        if not any(isinstance(part, range) for part in chunks):
            return chunks  # type: ignore[return-value]
        return tuple(number for run in chunk_runs(chunks) for number in run)
    return range(chunks, chunks + 1)


def count_chunks(chunks: Chunks) -> int:
    """Return the number of chunks."""
    if isinstance(chunks, tuple):
        return sum(len(part) if isinstance(part, range) else 1 for part in chunks)
    return 0 if chunks is None else len(chunks) if isinstance(chunks, range) else 1


def chunk_runs(chunks: Chunks) -> list[range]:
    """Return ``chunks`` in order, as one range for each contiguous part."""
    if isinstance(chunks, range) and chunks.step != 1:
        chunks = tuple(chunks)
    if not isinstance(chunks, tuple):
        one = as_chunks(chunks)
        return [range(one[0], one[-1] + 1)] if one else []
    runs: list[range] = []
    for part in chunks:
        first, stop = (part.start, part.stop) if isinstance(part, range) else (part, part + 1)
        if runs and runs[-1].stop == first:
            runs[-1] = range(runs[-1].start, stop)
        elif first < stop:
            runs.append(range(first, stop))
    return runs


def around(first: int, count: int, size: int) -> range | tuple[range, range]:
    """Return ``count`` of ``size`` chunks from ``first`` on; chunk 0 follows the last one.

    Examples
    --------
    >>> around(1, 3, 8), around(6, 3, 8)
    (range(1, 4), (range(6, 8), range(0, 1)))
    """
    first %= size
    stop = first + count
    return range(first, stop) if stop <= size else (range(first, size), range(stop - size))


def chunk_bounds(num_elements: int, num_chunks: int, chunks: int | range) -> slice:
    """Return the slice of a buffer of ``num_elements`` that a chunk or a range of ``num_chunks`` covers."""
    span = range(chunks, chunks + 1) if isinstance(chunks, int) else chunks
    return slice(num_elements * span.start // num_chunks, num_elements * span.stop // num_chunks)
