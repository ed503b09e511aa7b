"""The best cut of a row of units into stages, by dynamic programs over (stages, units).

The first finds the least time T of the slowest stage, the second the cut with the least sum of squared times among
those whose stages take at most T, so that the others are even, too. Where ranks have several stages, a bound on their
memory joins stages that are no neighbors, which no such program can hold to. Then all cuts are tried if they are few;
else bytes get a price on each rank, which rises as long as it is too full (Lagrange multipliers).
"""

import math
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise

import numpy as np

from .demand import StageDemand
from .tables import Tables

Prices = Callable[[int], np.ndarray]
"""prices(stage)[first, last] is the price of a run of units as that stage; infinite if it must not be."""

FEW = 100_000
"""The most cuts of which all are tried."""

ROUNDS = 40
"""The most changes of the prices of bytes."""

FIRST_PRICE, RISE = 0.02, 1.5
"""First price of all memory of a rank, as a part of the squared time of the slowest stage, and its growth."""


class Partition:
    """Cuts into as many stages as there are demands.

    Parameters
    ----------
    tables : Tables
    demands : sequence of StageDemand
    memory : float
        Bytes of each rank; infinite without a bound.

    Notes
    -----
    A cut is the list of the first units of all stages.
    """

    def __init__(self, tables: Tables, demands: Sequence[StageDemand], memory: float = np.inf):
        self.tables, self.demands, self.memory = tables, demands, memory
        self.ranks = [demand.rank for demand in demands]

    def best(self) -> list[int] | None:
        """Return the best cut within the memory; None if none is found."""
        slowest, _ = self._solve(self._seconds, np.maximum)

        def squares(stage: int) -> np.ndarray:
            seconds = self._seconds(stage)
            return np.where(seconds <= slowest, seconds * seconds, np.inf)

        found = None if slowest == np.inf else self._solve(squares, np.add)[1]
        if found is None or self._fits(found):
            return found
        number, inner = len(self.tables.is_run) - 1, len(self.demands) - 1
        return self._best_of_all() if math.comb(number, inner) <= FEW else self._search(slowest)

    def leanest(self) -> list[int]:
        """Return the cut whose largest stage needs the least memory."""

        def prices(stage: int) -> np.ndarray:
            return np.where(self.tables.is_run, self.tables.num_bytes(self.demands[stage]), np.inf)

        return self._solve(prices, np.maximum)[1]

    def _best_of_all(self) -> list[int] | None:
        """Return the best of all cuts that fit; None if none does."""
        number = len(self.tables.is_run)
        inner = np.array(list(combinations(range(1, number), len(self.demands) - 1)))
        edges = np.pad(inner, ((0, 0), (1, 1)), constant_values=((0, 0), (0, number)))
        seconds = np.empty((len(inner), len(self.demands)))
        used = np.zeros((len(inner), max(self.ranks) + 1))
        for stage, demand in enumerate(self.demands):
            runs = edges[:, stage], edges[:, stage + 1] - 1
            seconds[:, stage] = self.tables.seconds(demand)[runs]
            used[:, demand.rank] += self.tables.num_bytes(demand)[runs]
        slowest = np.where(used.max(axis=1) <= self.memory, seconds.max(axis=1), np.inf)
        if slowest.min() == np.inf:
            return None
        squares = np.where(slowest == slowest.min(), (seconds**2).sum(axis=1), np.inf)
        return [int(first) for first in edges[squares.argmin(), :-1]]

    def _search(self, slowest: float) -> list[int] | None:
        """Return a cut that fits, found by prices of bytes; None if none is. ``slowest`` is the time without them."""
        first = FIRST_PRICE * (slowest**2 or 1.0) / self.memory
        price = [0.0] * (max(self.ranks) + 1)

        def prices(stage: int) -> np.ndarray:
            seconds, num_bytes = self._seconds(stage), self.tables.num_bytes(self.demands[stage])
            return np.where(seconds < np.inf, seconds**2 + price[self.ranks[stage]] * num_bytes, np.inf)

        for _ in range(ROUNDS):
            starts = self._solve(prices, np.add)[1]
            used = self.rank_bytes(starts)
            if max(used) <= self.memory:
                return starts
            for rank, num_bytes in enumerate(used):
                if num_bytes > self.memory:
                    price[rank] = max(first, RISE * price[rank])
        return None

    def rank_bytes(self, starts: Sequence[int]) -> list[float]:
        """Return the memory of each rank."""
        totals = [0.0] * (max(self.ranks) + 1)
        for demand, run in zip(self.demands, self.runs(starts), strict=True):
            totals[demand.rank] += float(self.tables.num_bytes(demand)[run])
        return totals

    def runs(self, starts: Sequence[int]) -> list[tuple[int, int]]:
        """Return the first and the last unit of each stage."""
        return [(first, stop - 1) for first, stop in pairwise([*starts, len(self.tables.is_run)])]

    def _seconds(self, stage: int) -> np.ndarray:
        """Return the times of runs as a stage; infinite for one that is alone too large."""
        seconds = self.tables.seconds(self.demands[stage])
        if self.memory == np.inf:
            return seconds
        return np.where(self.tables.num_bytes(self.demands[stage]) <= self.memory, seconds, np.inf)

    def _fits(self, starts: Sequence[int]) -> bool:
        return self.memory == np.inf or max(self.rank_bytes(starts)) <= self.memory

    def _solve(
        self, prices: Prices, combine: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ) -> tuple[float, list[int]]:
        """Return the least combination of the prices of all stages, and the cut."""
        least = prices(0)[0]  # for the units up to ``last``, by last
        choices: list[np.ndarray] = []
        for stage in range(1, len(self.demands)):
            before = np.concatenate([[np.inf], least[:-1]])[:, None]  # for the units up to ``first - 1``, by first
            table = combine(before, prices(stage))
            choices.append(table.argmin(axis=0))
            least = np.take_along_axis(table, choices[-1][None], axis=0)[0]
        starts, last = [], len(least) - 1
        for choice in reversed(choices):
            starts.append(int(choice[last]))
            last = starts[-1] - 1
        return float(least[-1]), [0, *reversed(starts)]
