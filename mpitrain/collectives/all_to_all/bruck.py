"""Bruck's all-to-all: fewest rounds, for short chunks that may travel more than once.

A chunk for the rank i to the right hops 2^k to the right for every bit k of i, all chunks with that bit together.
In its last hop it arrives where it belongs; on the way it changes between that place and one for work, so that a
place is never sent and overwritten at once.

Cost: ceil(lg P) alpha + ceil(lg P) n/2 beta.
Source: Bruck, Ho, Kipnis, Upfal & Weathersby 1997, "Efficient algorithms for all-to-all communications in
multiport message-passing systems".
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..step import Step


@algorithm(
    "all_to_all",
    buffers=3,
    num_chunks=lambda size: 3 * size,
    rounds=lambda size: (size - 1).bit_length(),
    bytes=lambda size: sum(i.bit_count() for i in range(size)) / size,
    reductions=lambda size: 0,
)
def bruck(rank: int, size: int) -> Iterator[Step]:
    """Yield the ceil(lg P) steps of ``rank``."""
    for k in range((size - 1).bit_length()):
        hopping = [i for first in range(1 << k, size, 2 << k) for i in range(first, min(first + (1 << k), size))]
        yield Step(
            send_to=(rank + (1 << k)) % size,
            send=_places(rank, hopping, k, size),
            recv_from=(rank - (1 << k)) % size,
            recv=_places(rank, hopping, k + 1, size),
        )


def _places(rank: int, distances: list[int], k: int, size: int) -> tuple[int, ...]:
    """Return the chunks of ``rank`` with the data for those distances, before the hops of bits k and up.

    What has not moved yet is where it was at first; the rest is where it belongs or in the place for work, by the
    number of hops that are left.
    """
    moved = (1 << k) - 1
    return tuple(
        (2 * size if (i >> k).bit_count() & 1 else size) + (rank - i) % size if i & moved else (rank + i) % size
        for i in distances
    )
