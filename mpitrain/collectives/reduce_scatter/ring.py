"""Ring reduce-scatter: each chunk collects every contribution on its way around the ring to its owner.

Cost: (P-1) alpha + (P-1)/P n beta + (P-1)/P n gamma.
Source: Patarasuk & Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of workstations".
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
def ring(rank: int, size: int) -> Iterator[Step]:
    """Yield the P-1 steps of ``rank``: chunk r starts at r + 1 and ends at r."""
    right, left = (rank + 1) % size, (rank - 1) % size
    for k in range(1, size):
        yield Step(right, (rank - k) % size, left, (rank - k - 1) % size, reduce=True)
