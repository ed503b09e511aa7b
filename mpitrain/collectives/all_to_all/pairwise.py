"""Pairwise all-to-all: in step k every rank sends to the rank k to its right and receives from the left.

Chunks 0 to P-1 are what goes out, one for each rank; chunks P to 2P-1 are where it arrives.

Cost: (P-1) alpha + (P-1)/P n beta.
Source: Thakur, Rabenseifner & Gropp 2005, "Optimization of collective communication operations in MPICH".
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..step import Step


@algorithm(
    "all_to_all",
    buffers=2,
    num_chunks=lambda size: 2 * size,
    rounds=lambda size: size - 1,
    bytes=lambda size: (size - 1) / size,
    reductions=lambda size: 0,
)
def pairwise(rank: int, size: int) -> Iterator[Step]:
    """Yield the P-1 steps of ``rank``."""
    for k in range(1, size):
        target, source = (rank + k) % size, (rank - k) % size
        yield Step(send_to=target, send=target, recv_from=source, recv=size + source)
