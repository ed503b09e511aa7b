"""Recursive doubling all-gather: the data of a rank double in every round.

For other numbers than powers of two, even ranks of the first pairs hand their chunk to their neighbor before, and
get all other chunks after. Every chunk reaches every rank once, so backwards this is a reduce-scatter.

Cost: lg P alpha + (P-1)/P n beta; beside powers of two 2 rounds, and (P-1)/P n from one rank of each pair, more.
Source: Thakur, Rabenseifner & Gropp 2005, "Optimization of collective communication operations in MPICH".
"""

from collections.abc import Iterator

from ..algorithm import algorithm
from ..combinators import fold_rounds, power_of_two
from ..step import Step, around


@algorithm(
    "all_gather",
    rounds=lambda size: size.bit_length() - 1 + fold_rounds(size),
    bytes=lambda size: most_sent(size),
    reductions=lambda size: 0,
)
def recursive_doubling(rank: int, size: int) -> Iterator[Step]:
    """Yield the steps of ``rank``."""
    core = power_of_two(size)
    pairs = size - core
    paired = rank < 2 * pairs
    all_but = around(rank | 1, size - 1, size) if paired else None  # from the odd rank on: all but the even one's
    if paired and rank % 2 == 0:
        yield Step(send_to=rank + 1, send=rank)
        yield Step(recv_from=rank + 1, recv=all_but)
        return
    if paired:
        yield Step(recv_from=rank - 1, recv=rank - 1)
    place, distance = rank // 2 if paired else rank - pairs, 1
    while distance < core:
        other = place ^ distance
        mine, theirs = place // distance * distance, other // distance * distance
        peer = 2 * other + 1 if other < pairs else other + pairs
        yield Step(peer, _chunks(mine, distance, pairs), peer, _chunks(theirs, distance, pairs))
        distance *= 2
    if paired:
        yield Step(send_to=rank - 1, send=all_but)


def most_sent(size: int) -> float:
    """Return the bytes that the busiest rank sends, in multiples of n (the first pair's group is the largest)."""
    core = power_of_two(size)
    pairs, doublings = size - core, core.bit_length() - 1
    in_doubling = sum(len(_chunks(0, 1 << k, pairs)) for k in range(doublings))
    return (in_doubling + (size - 1 if pairs else 0)) / size


def _chunks(place: int, count: int, pairs: int) -> range:
    """Return the chunks of ``count`` places: the first places have two chunks each."""
    return range(place + min(place, pairs), place + count + min(place + count, pairs))
