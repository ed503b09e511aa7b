"""Recursive doubling all-reduce: fewest rounds, the whole vector in each.

In round k, ranks at distance 2^k exchange their vectors and both add; other numbers than powers of two are folded.

    0 <-> 1    2 <-> 3        k = 0
    0 <------> 2              k = 1
         1 <------> 3

Cost: lg P rounds: lg P (alpha + n beta + n gamma), and two rounds more where P is not a power of two.
Source: Thakur, Rabenseifner & Gropp 2005, "Optimization of collective communication operations in MPICH".
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..combinators import fold_rounds, folded, power_of_two
from ..step import Step


@algorithm(
    num_chunks=power_of_two,
    rounds=lambda size: size.bit_length() - 1 + fold_rounds(size),
    bytes=lambda size: size.bit_length() - 1 + fold_rounds(size) / 2,
    reductions=lambda size: size.bit_length() - 1 + fold_rounds(size) / 2,
)
def recursive_doubling(rank: int, size: int) -> Iterator[Step]:
    """Yield the steps of ``rank``."""
    yield from folded(_doubling, rank, size)


def _doubling(rank: int, size: int) -> Iterator[Step]:
    everything, distance = range(size), 1
    while distance < size:
        peer = rank ^ distance
        yield Step(send_to=peer, send=everything, recv_from=peer, recv=everything, reduce=True)
        distance *= 2
