"""Quick survey of the speed of all links and ranks, in about two seconds.

Pairs are measured in rounds, as in a tournament, so that each rank has one partner at a time and all links of a round
are busy at once, as in training. A link is compared with the median of its kind, inside a node or between nodes.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..world import World

TAG = 23
SMALL_TURNS, LARGE_TURNS = 30, 3
LARGE = 1 << 20  # bytes
MOST_ROUNDS = 16
PRODUCT = 192  # rows of the matrices whose product is timed


@dataclass(frozen=True)
class Link:
    """Link of two ranks: half a turn of 8 bytes in seconds, and bytes per second per direction when both send."""

    ranks: tuple[int, int]
    inside: bool
    latency: float
    bandwidth: float


@dataclass(frozen=True)
class Speeds:
    """Measurements: links, and the seconds of one matrix product on each rank."""

    links: list[Link]
    products: list[float]


def survey_links(world: World) -> Speeds:
    """Measure all links and ranks; all ranks call it together and get the same result."""
    nodes = world.all_gather(world.affinity[0])
    mine: list[Link] = []
    for pairs in rounds(world.size)[:MOST_ROUNDS]:
        world.barrier()
        partner = next((sum(pair) - world.rank for pair in pairs if world.rank in pair), None)
        if partner is not None:
            latency, bandwidth = _measure_pair(world._comm, partner, first=world.rank < partner)
            if world.rank < partner:
                mine.append(Link((world.rank, partner), nodes[world.rank] == nodes[partner], latency, bandwidth))
    world.barrier()
    everything = world.all_gather((mine, _product_seconds()))
    return Speeds([link for links, _ in everything for link in links], [seconds for _, seconds in everything])


def rounds(size: int) -> list[list[tuple[int, int]]]:
    """Return pairs of ranks in rounds: each rank once per round, each pair once (the circle method).

    >>> rounds(4)
    [[(0, 3), (1, 2)], [(0, 2), (1, 3)], [(0, 1), (2, 3)]]
    """
    even = size + size % 2
    circle = list(range(even))
    found = []
    for _ in range(even - 1):
        pairs = [(min(p), max(p)) for p in zip(circle[: even // 2], circle[: even // 2 - 1 : -1])]
        found.append(sorted(pair for pair in pairs if pair[1] < size))
        circle[1:] = [circle[-1], *circle[1:-1]]
    return found


def odd_ones(values: Sequence[float], factor: float) -> list[int]:
    """Return the indices of the values that are more than ``factor`` times the median.

    >>> odd_ones([1.0, 1.1, 0.9, 5.0], 3)
    [3]
    """
    median = float(np.median(values)) if len(values) else 0.0
    return [place for place, value in enumerate(values) if value > factor * median > 0]


def _measure_pair(comm: Any, partner: int, *, first: bool) -> tuple[float, float]:
    """Return half of the fastest turn of a short message, and bytes per second of long ones per direction."""
    short, turns = np.zeros(8, np.uint8), []
    for _ in range(SMALL_TURNS):
        begin = time.perf_counter()
        for sends in (first, not first):
            (comm.Send if sends else comm.Recv)(short, partner, TAG)
        turns.append(time.perf_counter() - begin)
    out, into, longs = np.ones(LARGE, np.uint8), np.empty(LARGE, np.uint8), []
    for _ in range(LARGE_TURNS):
        begin = time.perf_counter()
        comm.Sendrecv(out, partner, TAG, into, partner, TAG)
        longs.append(time.perf_counter() - begin)
    return min(turns) / 2, LARGE / min(longs)


def _product_seconds() -> float:
    a = np.ones((PRODUCT, PRODUCT), np.float32)
    seconds = []
    for _ in range(20):
        begin = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds))
