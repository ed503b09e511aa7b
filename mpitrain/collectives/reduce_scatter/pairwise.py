"""Pairwise reduce-scatter: every rank sends every other rank its contribution straight away.

The additions of a chunk happen in one place, in the order of the ranks behind the owner.

Cost: (P-1) alpha + (P-1)/P n beta + (P-1)/P n gamma.
Source: Thakur, Rabenseifner & Gropp 2005, "Optimization of collective communication operations in MPICH".
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..step import Step


@algorithm(
    "reduce_scatter",
    rounds=lambda size: size - 1,
    bytes=lambda size: (size - 1) / size,
    reductions=lambda size: (size - 1) / size,
)
def pairwise(rank: int, size: int) -> Iterator[Step]:
    """Yield the P-1 steps of ``rank``: in step k it meets the ranks at distance k."""
    for k in range(1, size):
        target = (rank + k) % size
        yield Step(target, target, (rank - k) % size, rank, reduce=True)
