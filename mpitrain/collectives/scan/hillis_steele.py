"""Hillis-Steele scan: in round k every rank adds the partial sum of the rank 2^k to its left.

    0  0-1  1-2  2-3      after k = 0
    0  0-1  0-2  0-3      after k = 1

Cost: ceil(lg P)(alpha + n beta + n gamma).
Source: Hillis & Steele 1986, "Data parallel algorithms".
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..step import Step


@algorithm(
    "scan",
    num_chunks=lambda size: 1,
    rounds=lambda size: (size - 1).bit_length(),
    bytes=lambda size: (size - 1).bit_length(),
    reductions=lambda size: (size - 1).bit_length(),
)
def hillis_steele(rank: int, size: int) -> Iterator[Step]:
    """Yield the steps of ``rank``."""
    for distance in (1 << k for k in range((size - 1).bit_length())):
        right, left = rank + distance < size, rank >= distance
        if right or left:
            yield Step(
                send_to=rank + distance if right else None,
                send=0 if right else None,
                recv_from=rank - distance if left else None,
                recv=0 if left else None,
                reduce=left,
            )
