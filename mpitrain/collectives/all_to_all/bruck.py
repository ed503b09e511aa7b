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
        hopping = [i for i in range(size) if i >> k & 1]
        yield Step(
            send_to=(rank + (1 << k)) % size,
            send=tuple(_place(rank, i, k, size) for i in hopping),
            recv_from=(rank - (1 << k)) % size,
            recv=tuple(_place(rank, i, k + 1, size) for i in hopping),
        )


def _place(rank: int, distance: int, k: int, size: int) -> int:
    """Return the chunk of ``rank`` that holds what travels ``distance``, before the hops of bits k and up."""
    if distance % (1 << k) == 0:
        return (rank + distance) % size  # has not moved yet
    hops_left = (distance >> k).bit_count()
    return (2 if hops_left % 2 else 1) * size + (rank - distance) % size
