"""Flat all-reduce: rank 0 collects all vectors and sends the sum back. The simplest, and the slowest for many ranks.

Cost: 2(P-1) rounds at the root: 2(P-1)(alpha + n beta) + (P-1) n gamma.
Source: Gropp, Lusk & Skjellum 1994, "Using MPI": the first that everybody writes.
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..step import Step


@algorithm(
    rounds=lambda size: 2 * (size - 1),
    bytes=lambda size: size - 1,
    reductions=lambda size: size - 1,
)
def flat(rank: int, size: int) -> Iterator[Step]:
    """Yield the steps of ``rank``: all ranks to the root, the root to all ranks."""
    everything = range(size)
    if rank:
        yield Step(send_to=0, send=everything)
        yield Step(recv_from=0, recv=everything)
        return
    for peer in range(1, size):
        yield Step(recv_from=peer, recv=everything, reduce=True)
    for peer in range(1, size):
        yield Step(send_to=peer, send=everything)
