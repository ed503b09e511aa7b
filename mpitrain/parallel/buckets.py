"""Gradient buckets: neighbouring parameters of the arena, summed over the ranks in one message each."""

from dataclasses import dataclass

from ..arena import Arena

FIRST_BUCKET_BYTES = 1 << 20  # a small first bucket lets the sending start early (Li et al. 2020, PyTorch DDP)


@dataclass(frozen=True)
class Bucket:
    """A slice of the arena and how many parameters must be ready before it can go.

    The first bucket starts with the arena's header; each ends where the next begins, padding included.
    """

    start: int
    stop: int
    num_parameters: int


def cut_buckets(arena: Arena, bucket_bytes: int, first_bytes: int = FIRST_BUCKET_BYTES) -> list[Bucket]:
    """Return the buckets of ``arena`` in the order in which backward completes them.

    A bucket closes as soon as it holds ``bucket_bytes`` (the first: ``first_bytes``); one parameter is never split.
    """
    buckets: list[Bucket] = []
    start = members = 0
    limit = min(first_bytes, bucket_bytes)
    ends = [p.start for p in arena.parameters[1:]] + [arena.size]
    for end in ends if arena.parameters else []:
        members += 1
        if (end - start) * arena.dtype.itemsize >= limit or end == arena.size:
            buckets.append(Bucket(start, end, members))
            start, members, limit = end, 0, bucket_bytes
    return buckets or [Bucket(0, arena.size, 0)]
