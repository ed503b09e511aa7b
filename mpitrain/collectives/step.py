"""The words of a schedule: what one rank does in one round."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

Chunks = int | range | tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Step:
    """One round of one rank: send something, receive something, or both at the same time.

    The buffer of n elements is cut into chunks of nearly equal length (some may be empty): one for each rank,
    unless the algorithm says otherwise. A step sends chunks as they are when it starts, and what it receives is
    in place when it ends.

    Parameters
    ----------
    send_to, recv_from : int or None
        Peer ranks; None where that side is idle.
    send, recv : int, range, tuple of int or None
        A chunk, a range of neighbouring chunks, or several chunks in the order in which they travel.
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
    if chunks is None:
        return range(0)
    return range(chunks, chunks + 1) if isinstance(chunks, int) else chunks


def chunk_runs(chunks: Chunks) -> list[range]:
    """Return ``chunks`` as ranges of neighbours, in order: one for what lies in one piece."""
    runs: list[range] = []
    for chunk in as_chunks(chunks):
        if runs and runs[-1].stop == chunk:
            runs[-1] = range(runs[-1].start, chunk + 1)
        else:
            runs.append(range(chunk, chunk + 1))
    return runs


def chunk_bounds(num_elements: int, num_chunks: int, chunks: int | range) -> slice:
    """Return the slice of a buffer of ``num_elements`` that a chunk or a range of ``num_chunks`` covers."""
    span = range(chunks, chunks + 1) if isinstance(chunks, int) else chunks
    return slice(num_elements * span.start // num_chunks, num_elements * span.stop // num_chunks)
