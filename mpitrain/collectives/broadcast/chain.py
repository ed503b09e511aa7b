"""Pipelined chain broadcast: segments go from rank to rank.

Cost: (P-2+m)(alpha + n/m beta) for m segments.
Source: Worringen 2003, "Pipelining and overlapping for MPI collective operations" (LCN).
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..step import Step


@algorithm(
    "broadcast",
    num_chunks=lambda size, segments: segments,
    rounds=lambda size, segments: size - 2 + segments if size > 1 else 0,
    bytes=lambda size: min(1, size - 1),
    reductions=lambda size: 0,
)
def chain(rank: int, size: int, segments: int = 8) -> Iterator[Step]:
    """Yield the steps of ``rank``: it forwards one segment while it receives the next."""
    right = rank + 1 if rank < size - 1 else None
    if rank == 0:
        for k in range(segments if size > 1 else 0):
            yield Step(send_to=right, send=k)
        return
    for k in range(segments):
        passes = right is not None and k > 0
        yield Step(right if passes else None, k - 1 if passes else None, rank - 1, k)
    if right is not None:
        yield Step(send_to=right, send=segments - 1)
