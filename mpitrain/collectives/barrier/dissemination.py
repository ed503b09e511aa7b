"""Dissemination barrier: in round k a token goes 2^k to the right, until every rank has heard from all others.

The messages are empty: chunk 0 stands for the token, and reducing it for having heard.

Cost: ceil(lg P) alpha.
Source: Hensgen, Finkel & Manber 1988, "Two algorithms for barrier synchronization".
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..step import Step


@algorithm(
    "barrier",
    num_chunks=lambda size: 1,
    rounds=lambda size: (size - 1).bit_length(),
    bytes=lambda size: (size - 1).bit_length(),
    reductions=lambda size: (size - 1).bit_length(),
)
def dissemination(rank: int, size: int) -> Iterator[Step]:
    """Yield the ceil(lg P) steps of ``rank``."""
    for distance in (1 << k for k in range((size - 1).bit_length())):
        yield Step((rank + distance) % size, 0, (rank - distance) % size, 0, reduce=True)
