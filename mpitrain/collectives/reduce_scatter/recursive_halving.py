"""Recursive halving reduce-scatter: the recursive doubling all-gather backwards.

What spreads a chunk from its owner to all ranks along a tree, backwards, collects and adds it along the same tree.

Cost: lg P alpha + (P-1)/P n beta + (P-1)/P n gamma; for other numbers than powers of two see the all-gather.
Source: Thakur, Rabenseifner & Gropp 2005, "Optimization of collective communication operations in MPICH".
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..all_gather.recursive_doubling import most_sent, recursive_doubling
from ..combinators import backwards, fold_rounds
from ..step import Step


@algorithm(
    "reduce_scatter",
    rounds=lambda size: size.bit_length() - 1 + fold_rounds(size),
    bytes=lambda size: (size - 1) / size,
    reductions=lambda size: most_sent(size),
)
def recursive_halving(rank: int, size: int) -> Iterator[Step]:
    """Yield the steps of ``rank``."""
    yield from backwards(recursive_doubling(rank, size), reduce=True)
