"""Ring all-reduce: bandwidth-optimal for any number of ranks.

Each chunk travels once around the ring and collects every rank's contribution (reduce-scatter), then once
more to be handed out (all-gather).

Cost: 2(P-1) rounds; 2(P-1)/P n sent and (P-1)/P n reduced per rank: 2(P-1) alpha + 2(P-1)/P n beta + (P-1)/P n gamma.
Source: Patarasuk & Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of workstations".
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..step import Step


@algorithm(
    rounds=lambda size: 2 * (size - 1),
    bytes=lambda size: 2 * (size - 1) / size,
    reductions=lambda size: (size - 1) / size,
)
def ring(rank: int, size: int) -> Iterator[Step]:
    """Yield the 2(P-1) steps of ``rank``: it always sends to the right and receives from the left."""
    right, left = (rank + 1) % size, (rank - 1) % size
    for first, reduce in ((rank, True), (rank + 1, False)):
        for k in range(size - 1):
            yield Step(
                send_to=right,
                send=(first - k) % size,
                recv_from=left,
                recv=(first - k - 1) % size,
                reduce=reduce,
            )
