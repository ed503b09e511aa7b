"""Binomial tree broadcast: the number of ranks with the vector doubles in every round.

Cost: ceil(lg P)(alpha + n beta).
Source: Thakur, Rabenseifner & Gropp 2005, "Optimization of collective communication operations in MPICH".
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..step import Step


@algorithm(
    "broadcast",
    num_chunks=lambda size: 1,
    rounds=lambda size: (size - 1).bit_length(),
    bytes=lambda size: (size - 1).bit_length(),
    reductions=lambda size: 0,
)
def binomial(rank: int, size: int) -> Iterator[Step]:
    """Yield the steps of ``rank``: parent in, children out, the farthest first."""
    distance = rank & -rank or 1 << (size - 1).bit_length()
    if rank:
        yield Step(recv_from=rank - distance, recv=0)
    while distance > 1:
        distance //= 2
        if rank + distance < size:
            yield Step(send_to=rank + distance, send=0)
