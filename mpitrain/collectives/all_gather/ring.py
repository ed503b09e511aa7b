"""Ring all-gather: every chunk travels once around the ring.

Cost: (P-1) alpha + (P-1)/P n beta.
Source: Thakur, Rabenseifner & Gropp 2005, "Optimization of collective communication operations in MPICH".
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..step import Step


@algorithm(
    "all_gather",
    rounds=lambda size: size - 1,
    bytes=lambda size: (size - 1) / size,
    reductions=lambda size: 0,
)
def ring(rank: int, size: int) -> Iterator[Step]:
    """Yield the P-1 steps of ``rank``."""
    right, left = (rank + 1) % size, (rank - 1) % size
    for k in range(size - 1):
        yield Step(right, (rank - k) % size, left, (rank - k - 1) % size)
