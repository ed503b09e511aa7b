"""The words of a schedule: what one rank does in one round."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

Chunks = int | range | None


@dataclass(frozen=True, slots=True)
class Step:
    """One round of one rank: send something, receive something, or both at the same time.

    The buffer of n elements is cut into ``size`` chunks of nearly equal length (some may be empty). A step
    sends chunks as they are when it starts, and what it receives is in place when it ends.

    Parameters
    ----------
    send_to, recv_from : int or None
        Peer ranks; None where that side is idle.
    send, recv : int, range or None
        A chunk, or a range of neighbouring chunks.
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


def as_range(chunks: Chunks) -> range:
    """Return ``chunks`` as a range (empty for None)."""
    if chunks is None:
        return range(0)
    return chunks if isinstance(chunks, range) else range(chunks, chunks + 1)


def chunk_bounds(num_elements: int, num_chunks: int, chunks: Chunks) -> slice:
    """Return the slice of a buffer of ``num_elements`` that ``chunks`` of ``num_chunks`` cover."""
    span = as_range(chunks)
    return slice(num_elements * span.start // num_chunks, num_elements * span.stop // num_chunks)
