"""Double binary tree all-reduce: two trees, each for half of the vector, in which nobody works twice.

Every inner rank of one tree is a leaf of the other, so both links of every rank are busy all the time. The edges
are coloured with two colours such that no rank sends or receives two messages of one colour; steps of one colour
and of the other alternate, and segments follow each other two steps apart. Summing up is the same backwards.

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
from ..relabel import backwards
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
    """Yield the steps that bring each half from the root of its tree to everybody, in order of time."""
    sends: dict[int, tuple[int, int]] = {}
    receives: dict[int, tuple[int, int]] = {}
    for tree, edges in enumerate(_edges(size)):
        for parent, child, time in edges:
            for k in range(segments):
                if parent == rank:
                    sends[time + 2 * k] = child, tree * segments + k
                elif child == rank:
                    receives[time + 2 * k] = parent, tree * segments + k
    for time in sorted(sends.keys() | receives.keys()):
        yield Step(*sends.get(time, (None, None)), *receives.get(time, (None, None)))


@functools.lru_cache(maxsize=64)
def _edges(size: int) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """Return the edges of both trees as (parent, child, time of the first segment)."""
    in_order = list(_tree(1, size))
    trees = [[((p - shift) % size, (c - shift) % size) for p, c in in_order] for shift in (1, 2)]
    colours = _colours(trees[0] + trees[1])
    timed = []
    for edges in trees:
        arrival: dict[int, int] = {}
        for parent, child in edges:  # parents come before their children
            earliest = arrival.get(parent, -1) + 1
            arrival[child] = earliest + (earliest + colours[parent, child]) % 2
        timed.append([(p, c, arrival[c]) for p, c in edges])
    return timed[0], timed[1]


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


def _colours(edges: list[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Colour the edges with 0 and 1 so that those that leave one rank differ, and those that enter one rank."""
    leaving: dict[int, list[tuple[int, int]]] = {}
    entering: dict[int, list[tuple[int, int]]] = {}
    for edge in edges:
        leaving.setdefault(edge[0], []).append(edge)
        entering.setdefault(edge[1], []).append(edge)
    colours: dict[tuple[int, int], int] = {}
    for first in edges:
        pending = [(first, 0)]
        while pending:
            edge, colour = pending.pop()
            if edge not in colours:
                colours[edge] = colour
                neighbours = leaving[edge[0]] + entering[edge[1]]
                pending += [(other, 1 - colour) for other in neighbours if other != edge]
    return colours
