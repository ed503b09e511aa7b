"""Pipelined chain reduce: the chain broadcast backwards.

Cost: (P-2+m)(alpha + n/m beta + n/m gamma) for m segments.
Source: Worringen 2003, "Pipelining and overlapping for MPI collective operations" (LCN).
"""

from collections.abc import Iterator

from .. import broadcast
from ..algorithm import algorithm
from ..combinators import backwards
from ..step import Step


@algorithm(
    "reduce",
    num_chunks=lambda size, segments: segments,
    rounds=lambda size, segments: size - 2 + segments if size > 1 else 0,
    bytes=lambda size: min(1, size - 1),
    reductions=lambda size: min(1, size - 1),
)
def chain(rank: int, size: int, segments: int = 8) -> Iterator[Step]:
    """Yield the steps of ``rank``."""
    yield from backwards(broadcast.chain(rank, size, segments), reduce=True)
