"""Rabenseifner's all-reduce: as few bytes as the ring in 2 lg P rounds.

Reduce-scatter by halving the vector while the distance doubles (so the longest messages go to the nearest ranks),
then all-gather the same way back; other numbers than powers of two are folded.

Cost: 2 lg P alpha + 2(P-1)/P n beta + (P-1)/P n gamma, and two rounds with n more where P is not a power of two.
Source: Rabenseifner 2004, "Optimization of collective reduction operations" (ICCS).
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..combinators import fold_rounds, folded, halve_and_double, power_of_two
from ..step import Step


@algorithm(
    num_chunks=power_of_two,
    rounds=lambda size: 2 * (size.bit_length() - 1) + fold_rounds(size),
    bytes=lambda size: 2 * (1 - 1 / power_of_two(size)) + fold_rounds(size) / 2,
    reductions=lambda size: 1 - 1 / power_of_two(size) + fold_rounds(size) / 2,
)
def halving_doubling(rank: int, size: int) -> Iterator[Step]:
    """Yield the steps of ``rank``."""
    yield from folded(_halving_doubling, rank, size)


def _halving_doubling(rank: int, size: int) -> Iterator[Step]:
    bits = range(size.bit_length() - 1)
    yield from halve_and_double(rank, size, [rank ^ (1 << k) for k in bits], [bool(rank >> k & 1) for k in bits])
