"""Double binary tree all-reduce: two trees, each for half of the vector, in which no rank is an inner node twice.

Every inner rank of one tree is a leaf of the other, so both links of every rank are busy all the time. The edges
are colored with two colors such that no rank sends or receives two messages of one color; steps of one color and of
the other alternate, and segments follow each other two steps apart. Summing up is the same backwards.

    tree 1:     3        tree 2:     2          (7 ranks)
              1   5                0   4
             0 2 4 6            6   1 3  5      rank r stands where r + 1 stands in tree 1

Cost: about 4 lg P + 4m rounds for m segments of each half: 4(lg P + m)(alpha + n/2m beta), so 2 n beta for many
segments.
Source: Sanders, Speck & Träff 2009, "Two-tree algorithms for full bandwidth broadcast, reduction and scan".
"""

import functools
from collections.abc import Iterator

from ..algorithm import algorithm
from ..combinators import backwards
from ..step import Step


@algorithm(
    num_chunks=lambda size, segments: 2 * segments,
    rounds=lambda size, segments: 4 * ((size - 1).bit_length() + segments) if size > 1 else 0,
    bytes=lambda size: 2 if size > 1 else 0,
    reductions=lambda size: 1 if size > 1 else 0,
)
def double_tree(rank: int, size: int, segments: int = 8) -> Iterator[Step]:
    """Yield the steps of ``rank``: sums up both trees, results down both trees."""
    down = list(_broadcast(rank, size, segments))
    yield from backwards(down, reduce=True)
    yield from down


def _broadcast(rank: int, size: int, segments: int) -> Iterator[Step]:
    """Yield the steps that bring each half from the root of its tree to all ranks, in order of time."""
    neighbors, times = _links(size, rank)
    for to, send, source, recv in _timetable(times, segments):
        yield Step(neighbors[to], send, neighbors[source], recv)


Times = tuple[tuple[int | None, tuple[int, ...]], ...]
"""For each tree, when the first segment comes from the parent, and when it goes to each child."""


@functools.lru_cache(maxsize=1024)
def _timetable(times: Times, segments: int) -> list[tuple[int, int | None, int, int | None]]:
    """Return the steps as (send to, chunk, receive from, chunk), in order of time; peers are places among neighbors.

    The neighbors are none, then the parent and the children in the first tree, then those in the second. Ranks
    with the same times, of which there are many, do the same with other neighbors.
    """
    sends: dict[int, tuple[int, int]] = {}
    receives: dict[int, tuple[int, int]] = {}
    place = 0
    for tree, (arrival, departures) in enumerate(times):
        for table, time in ((receives, arrival), *((sends, t) for t in departures)):
            place += 1
            for k in range(segments if time is not None else 0):
                table[(time or 0) + 2 * k] = place, tree * segments + k
    idle = (0, None)
    return [(*sends.get(t, idle), *receives.get(t, idle)) for t in sorted(sends.keys() | receives.keys())]


def _links(size: int, rank: int) -> tuple[list[int | None], Times]:
    """Return the neighbors of ``rank`` (see ``_timetable``), and when the first segments pass."""
    neighbors: list[int | None] = [None]
    times = []
    for parents, arrivals, children in _trees(size):
        neighbors += [parents.get(rank), *children.get(rank, ())]
        times.append((arrivals.get(rank), tuple(arrivals[child] for child in children.get(rank, ()))))
    return neighbors, tuple(times)


Tree = tuple[dict[int, int], dict[int, int], dict[int, list[int]]]
"""The parent of each rank but the root, the time at which the first segment comes from it, and the children."""


@functools.lru_cache(maxsize=64)
def _trees(size: int) -> tuple[Tree, Tree]:
    in_order = list(_tree(1, size))
    edges = [[((p - shift) % size, (c - shift) % size) for p, c in in_order] for shift in (1, 2)]
    colors = _colors(edges[0] + edges[1])
    trees: list[Tree] = []
    for tree in edges:
        parents: dict[int, int] = {}
        arrivals: dict[int, int] = {}
        children: dict[int, list[int]] = {}
        for parent, child in tree:  # parents come before their children
            earliest = arrivals.get(parent, -1) + 1
            arrivals[child] = earliest + (earliest + colors[parent, child]) % 2
            parents[child] = parent
            children.setdefault(parent, []).append(child)
        trees.append((parents, arrivals, children))
    return trees[0], trees[1]


def _tree(first: int, last: int) -> Iterator[tuple[int, int]]:
    """Yield the edges of the tree over first..last whose leaves are the odd numbers."""
    root = _root(first, last)
    for low, high in ((first, root - 1), (root + 1, last)):
        if low <= high:
            yield root, _root(low, high)
            yield from _tree(low, high)


def _root(first: int, last: int) -> int:
    """Return the number from first to last that most twos divide."""
    power = 1 << last.bit_length()
    while last // power * power < first:
        power //= 2
    return last // power * power


def _colors(edges: list[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Color the edges with 0 and 1 so that those that leave one rank differ, and those that enter one rank."""
    leaving: dict[int, list[tuple[int, int]]] = {}
    entering: dict[int, list[tuple[int, int]]] = {}
    for edge in edges:
        leaving.setdefault(edge[0], []).append(edge)
        entering.setdefault(edge[1], []).append(edge)
    colors: dict[tuple[int, int], int] = {}
    for first in edges:
        pending = [(first, 0)]
        while pending:
            edge, color = pending.pop()
            if edge not in colors:
                colors[edge] = color
                neighbors = leaving[edge[0]] + entering[edge[1]]
                pending += [(other, 1 - color) for other in neighbors if other != edge]
    return colors
