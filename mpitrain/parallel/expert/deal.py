"""The rows of embedding tables dealt to ranks, in blocks that grow with the number of rows before them.

Codes are often given by frequency, and by Zipf's law the k-th most frequent one is then used in proportion to 1/k.
Blocks of one length would give the rank of the first block most of the work; rows dealt one by one would give a file of
a checkpoint as many pieces as there are rows. A block of length k / (64 P) behind row k has nearly the same use
wherever it lies, and there are only 64 (1 + log(V / 64 P)) blocks for each rank.
"""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from ...data.sampler import share

BLOCKS = 64
"""Blocks of a rank until the next ones are e times as long."""

Ranges = tuple[tuple[int, int], ...]


def deal(num_rows: int, size: int, first: int = 0) -> list[Ranges]:
    """Return the rows of each rank, as ranges in ascending order; the numbers of rows differ by at most 1.

    Parameters
    ----------
    num_rows, size : int
        V and P.
    first : int
        The rank that gets the first row, so that not all tables of a model begin on one.

    Examples
    --------
    >>> deal(5, 2), deal(5, 2, first=1)
    ([((0, 1), (2, 3), (4, 5)), ((1, 2), (3, 4))], [((1, 2), (3, 4)), ((0, 1), (2, 3), (4, 5))])
    >>> [len(ranges) for ranges in deal(10_000_000, 4)]
    [783, 783, 783, 783]
    """
    found: list[list[tuple[int, int]]] = [[] for _ in range(size)]
    start = 0
    while start < num_rows:
        length = min(size * max(1, start // (BLOCKS * size)), num_rows - start)
        for rank, part in enumerate(share(length, rank, size) for rank in range(size)):
            _append(found[rank], start + part.start, start + part.stop)
        start += length
    return [tuple(found[(rank - first) % size]) for rank in range(size)]


def _append(ranges: list[tuple[int, int]], start: int, stop: int) -> None:
    """Append a range, which may be empty, or follow the last one."""
    if ranges and ranges[-1][1] == start:
        ranges[-1] = ranges[-1][0], stop
    elif start < stop:
        ranges.append((start, stop))


class Places:
    """The rank of each row of several tables, and its place among the rows of that rank.

    Rows are numbered through: those of the second table follow those of the first one, in the whole and on each rank.

    Parameters
    ----------
    tables : sequence of (sequence of Ranges)
        For each table the rows of each rank, as ``deal`` returns them.

    Attributes
    ----------
    starts : (T + 1,) int64 array
        The number of the first row of each table, and of all.
    own_starts : (P, T + 1) int64 array
        The same among the rows of each rank.
    """

    def __init__(self, tables: Sequence[Sequence[Ranges]]):
        size = len(tables[0])
        counts = [[sum(stop - start for start, stop in ranges) for ranges in table] for table in tables]
        self.starts = np.array([*accumulate(map(sum, counts), initial=0)])
        self.own_starts = np.zeros((size, len(tables) + 1), np.int64)
        np.cumsum(np.array(counts).T, axis=1, out=self.own_starts[:, 1:])
        blocks = []
        for number, table in enumerate(tables):
            for rank, ranges in enumerate(table):
                place = int(self.own_starts[rank, number])
                for start, stop in ranges:
                    blocks.append((int(self.starts[number]) + start, rank, place))
                    place += stop - start
        blocks.sort()
        self._first, self._rank, self._place = np.array(blocks, np.int64).reshape(-1, 3).T.copy()

    def find(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rank of each of the ``rows`` (M,), and its place among the rows of that rank."""
        block = np.searchsorted(self._first, rows, side="right") - 1
        return self._rank[block], self._place[block] + rows - self._first[block]
