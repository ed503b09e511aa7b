"""Pipelined chain all-reduce: segments flow down a line of ranks to rank 0, summed on the way, and back up.

Cost: 2(P-2+m) rounds for m segments: 2(P-2+m)(alpha + n/m beta) + (P-2+m) n/m gamma.
Source: Worringen 2003, "Pipelining and overlapping for MPI collective operations" (LCN).
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..step import Step


@algorithm(
    num_chunks=lambda size, segments: segments,
    rounds=lambda size, segments: 2 * (size - 2 + segments) if size > 1 else 0,
    bytes=lambda size: min(2, size - 1),
    reductions=lambda size: min(1, size - 1),
)
def chain(rank: int, size: int, segments: int = 8) -> Iterator[Step]:
    """Yield the steps of ``rank``: it forwards one segment while it receives the next."""
    below = rank - 1 if rank > 0 else None
    above = rank + 1 if rank < size - 1 else None
    for source, target, reduce in ((above, below, True), (below, above, False)):
        for k in range(segments + 1):
            send = k if source is None else k - 1  # what came in the last step goes out in this one
            sends = target is not None and 0 <= send < segments
            receives = source is not None and k < segments
            if sends or receives:
                yield Step(
                    send_to=target if sends else None,
                    send=send if sends else None,
                    recv_from=source if receives else None,
                    recv=k if receives else None,
                    reduce=reduce and receives,
                )
