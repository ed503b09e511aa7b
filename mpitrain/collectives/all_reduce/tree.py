"""Binomial tree all-reduce: fewest rounds for short vectors, any number of ranks.

The whole vector is reduced up a binomial tree to rank 0 and broadcast back down the same tree. In round k of
the way up, ranks whose lowest set bit is 2^k send to the rank with that bit cleared:

    0 <- 1    2 <- 3    4 <- 5        k = 0
    0 <------ 2         4             k = 1
    0 <---------------- 4             k = 2

Cost: at most 2 ceil(lg P) rounds; 2 ceil(lg P)(alpha + n beta) + ceil(lg P) n gamma on the critical path.
Source: Thakur, Rabenseifner & Gropp 2005, "Optimization of collective communication operations in MPICH".
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..step import Step


@algorithm(
    rounds=lambda size: 2 * (size - 1).bit_length(),
    bytes=lambda size: (size - 1).bit_length(),
    reductions=lambda size: (size - 1).bit_length(),
)
def tree(rank: int, size: int) -> Iterator[Step]:
    """Yield the steps of ``rank``: children in, parent out, then parent in, children out."""
    everything = range(size)
    distances = [1 << k for k in range((size - 1).bit_length())]
    for distance in distances:
        if rank & distance:
            yield Step(send_to=rank - distance, send=everything)
            break
        if rank + distance < size:
            yield Step(recv_from=rank + distance, recv=everything, reduce=True)
    lowest = rank & -rank or 1 << (size - 1).bit_length()
    if rank:
        yield Step(recv_from=rank - lowest, recv=everything)
    for distance in reversed(distances):
        if distance < lowest and rank + distance < size:
            yield Step(send_to=rank + distance, send=everything)
