"""Broadcast by scatter and all-gather: for long vectors, where the binomial tree would send all of it lg P times.

Rank 0 scatters the chunks down a binomial tree, and a ring all-gather completes them.

Cost: (ceil(lg P) + P-1) alpha + 2(P-1)/P n beta.
Source: Barnett, Gupta, Payne, Shuler, van de Geijn & Watts 1994, "Building a high-performance collective
communication library" (SC).
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..all_gather.ring import ring
from ..scatter.binomial import binomial
from ..step import Step


@algorithm(
    "broadcast",
    rounds=lambda size: (size - 1).bit_length() + size - 1,
    bytes=lambda size: 2 * (size - 1) / size,
    reductions=lambda size: 0,
)
def scatter_all_gather(rank: int, size: int) -> Iterator[Step]:
    """Yield the steps of ``rank``."""
    yield from binomial(rank, size)
    yield from ring(rank, size)
