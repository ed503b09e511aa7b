"""Binomial tree reduce: the broadcast backwards.

Cost: ceil(lg P)(alpha + n beta + n gamma).
Source: Thakur, Rabenseifner & Gropp 2005, "Optimization of collective communication operations in MPICH".
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..step import Step


@algorithm(
    "reduce",
    num_chunks=lambda size: 1,
    rounds=lambda size: (size - 1).bit_length(),
    bytes=lambda size: min(1, size - 1),
    reductions=lambda size: (size - 1).bit_length(),
)
def binomial(rank: int, size: int) -> Iterator[Step]:
    """Yield the steps of ``rank``: children in, the nearest first, then parent out."""
    for distance in (1 << k for k in range((size - 1).bit_length())):
        if rank & distance:
            yield Step(send_to=rank - distance, send=0)
            return
        if rank + distance < size:
            yield Step(recv_from=rank + distance, recv=0, reduce=True)
