"""The best cut of a row of units into stages, by dynamic programs over (stages, units).

The first finds the least time T of the slowest stage, the second the cut with the least sum of squared times among
those whose stages take at most T, so that the others are even, too. Where ranks have several stages, a bound on their
memory joins stages that are no neighbors, which no such program can hold to: then bytes get a price on each rank, which
rises where memory is short (multiplicative weights), while T is bisected.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from .demand import StageDemand
from .tables import Tables

Prices = Callable[[int], np.ndarray]
"""prices(stage)[first, last] is the price of a run of units as that stage; infinite if it must not be."""

STEPS = 6
"""Steps of the bisection of T."""

ROUNDS = 12
"""Changes of the prices of bytes for one T."""


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
        if found is not None and not self._fits(found):
            found = self._search(slowest)
        return found

    def leanest(self) -> list[int]:
        """Return the cut whose largest stage needs the least memory."""
        return self._solve(lambda stage: self.tables.num_bytes(self.demands[stage]), np.maximum)[1]

    def _search(self, low: float) -> list[int] | None:
        """Return a cut that fits where ranks have several stages, as fast as is found; none is faster than ``low``."""
        found = self._fitting(np.inf)
        if found is None:
            leanest = self.leanest()
            return leanest if self._fits(leanest) else None
        high = self._slowest(found)
        for _ in range(STEPS):
            limit = (low + high) / 2
            tried = self._fitting(limit)
            if tried is None:
                low = limit
            else:
                found, high = tried, self._slowest(tried)
        return found

    def _fitting(self, limit: float) -> list[int] | None:
        """Return a cut that fits, whose stages take ``limit`` at most; None if none is found."""
        price = [1.0] * (max(self.ranks) + 1)

        def prices(stage: int) -> np.ndarray:
            own = self.tables.num_bytes(self.demands[stage]) * price[self.ranks[stage]]
            return np.where(self._seconds(stage) <= limit, own, np.inf)

        for _ in range(ROUNDS):
            total, starts = self._solve(prices, np.add)
            if total == np.inf:
                return None
            used = self.rank_bytes(starts)
            if max(used) <= self.memory:
                return starts
            price = [each * max(0.1, num_bytes / self.memory) ** 2 for each, num_bytes in zip(price, used, strict=True)]
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

    def _slowest(self, starts: Sequence[int]) -> float:
        both = zip(self.demands, self.runs(starts), strict=True)
        return max(float(self.tables.seconds(demand)[run]) for demand, run in both)

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
