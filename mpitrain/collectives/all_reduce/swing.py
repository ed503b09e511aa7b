"""Swing all-reduce: halving and doubling between ranks that are nearer than powers of two, for rings and tori.

Round k pairs ranks at distance 1, 1, 3, 5, 11, ... instead of 1, 2, 4, 8, 16, alternately to the right and to the
left. The halves are those of the labels of negabinary.py, so that every message lies in one piece.

Cost: that of halving and doubling, 2 lg P alpha + 2(P-1)/P n beta + (P-1)/P n gamma, over shorter ways; other
numbers than powers of two are folded (two rounds with n more).
Source: De Sensi, Bonato, Saam & Hoefler 2024, "Swing: short-cutting rings for higher bandwidth allreduce" (NSDI).
"""

from collections.abc import Iterator

from .. import negabinary
from ..algorithm import algorithm
from ..combinators import fold_rounds, folded, halve_and_double, power_of_two
from ..step import Step


@algorithm(
    num_chunks=power_of_two,
    rounds=lambda size: 2 * (size.bit_length() - 1) + fold_rounds(size),
    bytes=lambda size: 2 * (1 - 1 / power_of_two(size)) + fold_rounds(size) / 2,
    reductions=lambda size: 1 - 1 / power_of_two(size) + fold_rounds(size) / 2,
)
def swing(rank: int, size: int) -> Iterator[Step]:
    """Yield the steps of ``rank``."""
    yield from folded(_swing, rank, size)


def _swing(rank: int, size: int) -> Iterator[Step]:
    bits, label = range(size.bit_length() - 1), negabinary.label(rank, size)
    peers = [negabinary.peer(rank, k, size) for k in bits]
    yield from halve_and_double(rank, size, peers, [bool(label >> k & 1) for k in bits])
