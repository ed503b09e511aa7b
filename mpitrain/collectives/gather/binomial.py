"""Binomial tree gather: the scatter backwards.

Cost: ceil(lg P) alpha + (P-1)/P n beta.
Source: Thakur, Rabenseifner & Gropp 2005, "Optimization of collective communication operations in MPICH".
"""

from collections.abc import Iterator

from .. import scatter
from ..algorithm import algorithm
from ..combinators import backwards
from ..step import Step


@algorithm(
    "gather",
    rounds=lambda size: (size - 1).bit_length(),
    bytes=lambda size: (size - 1) / size,
    reductions=lambda size: 0,
)
def binomial(rank: int, size: int) -> Iterator[Step]:
    """Yield the steps of ``rank``."""
    yield from backwards(scatter.binomial(rank, size))
