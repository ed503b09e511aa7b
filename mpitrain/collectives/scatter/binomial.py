"""Binomial tree scatter: halves of what is left go to the root of each half.

Cost: ceil(lg P) alpha + (P-1)/P n beta.
Source: Thakur, Rabenseifner & Gropp 2005, "Optimization of collective communication operations in MPICH".
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..step import Step


@algorithm(
    "scatter",
    rounds=lambda size: (size - 1).bit_length(),
    bytes=lambda size: (size - 1) / size,
    reductions=lambda size: 0,
)
def binomial(rank: int, size: int) -> Iterator[Step]:
    """Yield the steps of ``rank``: the chunks of its subtree in, those of its children's subtrees out."""
    distance = rank & -rank or 1 << (size - 1).bit_length()
    if rank:
        yield Step(recv_from=rank - distance, recv=range(rank, min(rank + distance, size)))
    while distance > 1:
        distance //= 2
        child = rank + distance
        if child < size:
            yield Step(send_to=child, send=range(child, min(child + distance, size)))
