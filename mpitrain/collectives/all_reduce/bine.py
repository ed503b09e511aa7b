"""Bine tree all-reduce: a binomial tree whose edges are a third shorter, so that fewer cross between groups.

Binomial and negabinary: the tree of the labels of negabinary.py, in which round k spans 1, 1, 3, 5, 11, ... ranks
instead of 1, 2, 4, 8, 16. Up to rank 0 with the near ones first, and down again with the far ones first. (For long
vectors the paper halves and doubles along the same edges; on a line of ranks that is Swing.)

Cost: that of the binomial tree, 2 lg P (alpha + n beta) + lg P n gamma; other numbers than powers of two are folded.
Source: De Sensi et al. 2025, "Bine trees: enhancing collective operations by optimizing communication locality" (SC).
"""

from collections.abc import Iterator

from .. import negabinary
from ..algorithm import algorithm
from ..combinators import fold_rounds, folded, power_of_two
from ..step import Step


@algorithm(
    num_chunks=power_of_two,
    rounds=lambda size: 2 * (size.bit_length() - 1) + fold_rounds(size),
    bytes=lambda size: size.bit_length() - 1 + fold_rounds(size) / 2,
    reductions=lambda size: size.bit_length() - 1 + fold_rounds(size) / 2,
)
def bine(rank: int, size: int) -> Iterator[Step]:
    """Yield the steps of ``rank``."""
    yield from folded(_bine, rank, size)


def _bine(rank: int, size: int) -> Iterator[Step]:
    everything, label = range(size), negabinary.label(rank, size)
    peers = [negabinary.peer(rank, k, size) for k in range(size.bit_length() - 1)]
    up = (label & -label).bit_length() - 1 if rank else len(peers)
    for child in peers[:up]:
        yield Step(recv_from=child, recv=everything, reduce=True)
    if rank:
        yield Step(send_to=peers[up], send=everything)
        yield Step(recv_from=peers[up], recv=everything)
    for child in reversed(peers[:up]):
        yield Step(send_to=child, send=everything)
