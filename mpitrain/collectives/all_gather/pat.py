"""PAT all-gather (parallel aggregated trees): Bruck's in reverse, far ranks first, so that far messages are short.

Every chunk goes down a binomial tree of its own, of which its owner is the root, and the trees of all chunks are the
same but rotated: a rank stands at offset i in the tree of the rank i to its left. From offset i a chunk goes 2^k
further, for the bits k below the lowest of i, the highest first. What is at several offsets travels together, up to
``aggregate`` chunks a message: the first rounds are a doubling; then as many trees at once as that are walked through
depth first, which is what keeps the buffers of a library that stages its messages short.

Cost, A the aggregate: lg P alpha + (P-1)/P n beta for A >= P/2, else about (lg A + P/A) alpha + (P-1)/P n beta.
Source: Jeaugey 2025, "PAT: a new algorithm for all-gather and reduce-scatter operations at scale" (arXiv 2506.20252).
"""

import functools
from collections.abc import Iterator

from ..algorithm import algorithm
from ..step import Step


@algorithm(
    "all_gather",
    rounds=lambda size, aggregate: num_rounds(size, aggregate),
    bytes=lambda size: (size - 1) / size,
    reductions=lambda size: 0,
)
def pat(rank: int, size: int, aggregate: int = 16) -> Iterator[Step]:
    """Yield the steps of ``rank``: in each it forwards the chunks at some offsets by the same distance."""
    for distance, offsets in hops(size, aggregate):
        yield Step(
            send_to=(rank + distance) % size,
            send=tuple((rank - i) % size for i in offsets),
            recv_from=(rank - distance) % size,
            recv=tuple((rank - distance - i) % size for i in offsets),
        )


def num_rounds(size: int, aggregate: int) -> int:
    """Return the number of rounds."""
    return len(hops(size, aggregate))


@functools.lru_cache(maxsize=64)
def hops(size: int, aggregate: int) -> list[tuple[int, list[int]]]:
    """Return the rounds as (distance, offsets of the forwarded chunks)."""
    num_bits = (size - 1).bit_length()
    together = min(aggregate.bit_length() - 1, num_bits)  # bits of the offsets that travel in one message
    apart = num_bits - together
    rounds = [(1 << k, range(0, size, 2 << k)) for k in reversed(range(apart, num_bits))]
    rounds += [(1 << k, range(base, size, 1 << apart)) for base, k in _depth_first(0, apart)]
    found = [(distance, [i for i in offsets if i + distance < size]) for distance, offsets in rounds]
    return [(distance, offsets) for distance, offsets in found if offsets]


def _depth_first(base: int, num_bits: int) -> Iterator[tuple[int, int]]:
    """Yield (offset, bit) of every edge of the tree below ``base``, each branch to its end before the next."""
    for k in reversed(range(num_bits)):
        yield base, k
        yield from _depth_first(base + (1 << k), k)
