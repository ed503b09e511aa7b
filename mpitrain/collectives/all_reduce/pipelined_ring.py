"""Pipelined ring all-reduce: the ring with each chunk sent in segments, so that adding one overlaps sending the next.

Every rank does what it does in the ring, segment by segment: while segment j is being added, segment j + 1 is
already on its way (the runner starts a round before it has added up the last one, where the two do not touch).

Cost: 2(P-1)m rounds for m segments: 2(P-1)m alpha + 2(P-1)/P n beta + (P-1)/P n gamma, of which gamma can hide
behind beta.
Source: Patarasuk & Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of workstations".
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..step import Step


@algorithm(
    num_chunks=lambda size, segments: size * segments,
    rounds=lambda size, segments: 2 * (size - 1) * segments,
    bytes=lambda size: 2 * (size - 1) / size,
    reductions=lambda size: (size - 1) / size,
)
def pipelined_ring(rank: int, size: int, segments: int = 4) -> Iterator[Step]:
    """Yield the 2(P-1)m steps of ``rank``."""
    right, left = (rank + 1) % size, (rank - 1) % size
    for first, reduce in ((rank, True), (rank + 1, False)):
        for k in range(size - 1):
            for segment in range(segments):
                yield Step(
                    send_to=right,
                    send=(first - k) % size * segments + segment,
                    recv_from=left,
                    recv=(first - k - 1) % size * segments + segment,
                    reduce=reduce,
                )
