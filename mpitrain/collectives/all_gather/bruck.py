"""Bruck's all-gather: fewest rounds for any number of ranks.

Rank r gathers chunks r, r + 1, r + 2, ... (around the end): in round k it has 2^k of them, hands them to the rank
2^k to the left, and gets as many from the right.

Cost: ceil(lg P) alpha + (P-1)/P n beta.
Source: Bruck, Ho, Kipnis, Upfal & Weathersby 1997, "Efficient algorithms for all-to-all communications in
multiport message-passing systems".
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..step import Step, around


@algorithm(
    "all_gather",
    rounds=lambda size: (size - 1).bit_length(),
    bytes=lambda size: (size - 1) / size,
    reductions=lambda size: 0,
)
def bruck(rank: int, size: int) -> Iterator[Step]:
    """Yield the ceil(lg P) steps of ``rank``."""
    have = 1
    while have < size:
        count = min(have, size - have)
        yield Step(
            send_to=(rank - have) % size,
            send=around(rank, count, size),
            recv_from=(rank + have) % size,
            recv=around(rank + have, count, size),
        )
        have += count
