"""Time shares of a rank: compute, input, waiting for other ranks, and sync.

The time that a rank spends in the gradient exchange is waiting and transfer in one. The rank that comes last to a
step does not wait, so the least time that any rank spent in it is transfer, and what another rank spent beyond
that it spent waiting. One reduction of a vector per epoch separates them, at no cost to the steps.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from ..comm.group import Group

ALIKE = 0.1  # of own work: a rank that takes so much longer than the median is named
UNEQUAL = 0.25  # from here on other shares of the batches would pay


@dataclass
class Times:
    """Seconds of one rank in training steps (evaluation not counted)."""

    compute: float = 0.0
    input: float = 0.0
    waiting: float = 0.0
    sync: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return self.compute + self.input + self.waiting + self.sync

    def add(self, other: "Times") -> None:
        """Add another rank's or epoch's times."""
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))

    def shares(self) -> dict[str, float]:
        """Return each part as a share of the total, four digits."""
        total = self.total or 1.0
        return {f.name: round(getattr(self, f.name) / total, 4) for f in fields(self)}


def blame(ranks: Sequence[Times], hint: str = "") -> str:
    """Return the rank that the others have waited for, and its activity; ``hint`` follows where it is much slower.

    A rank's own work is what it computes and the input that it waits for: what it spends in the exchange depends on
    the others.

    >>> blame([Times(compute=1.0, waiting=0.6), Times(compute=1.6, input=0.1), Times(compute=1.1, waiting=0.5)])
    'rank 1, whose own work took 1.6 times as long as the median (compute); the others waited 34% of their time'
    >>> blame([Times(compute=1.0, waiting=1.0), Times(compute=2.0)], "try --balance auto")[-30:]
    'their time; try --balance auto'
    >>> blame([Times(compute=1.0), Times(compute=1.01)])
    'no rank: their own work took equally long, to 1%'
    """
    own = np.array([times.compute + times.input for times in ranks])
    slow = int(own.argmax())
    others = np.delete(own, slow)
    usual = float(np.median(others))
    excess = own[slow] / usual - 1 if usual else 0.0
    if excess < ALIKE:
        return f"no rank: their own work took equally long, to {max(0.01, excess):.0%}"
    parts = {name: np.array([getattr(times, name) for times in ranks]) for name in ("compute", "input")}
    part = max(parts, key=lambda name: parts[name][slow] - np.median(np.delete(parts[name], slow)))
    waited = sum(times.waiting for rank, times in enumerate(ranks) if rank != slow)
    total = sum(times.total for rank, times in enumerate(ranks) if rank != slow)
    more = f"; {hint}" if hint and excess >= UNEQUAL else ""
    return (
        f"rank {slow}, whose own work took {1 + excess:.1f} times as long as the median ({part}); "
        f"the others waited {waited / total:.0%} of their time{more}"
    )


class StepTimer:
    """Measures one epoch of steps."""

    def __init__(self) -> None:
        self._begin = self._last = time.perf_counter()
        self._input = 0.0
        self._exchange = self._stages = 0.0
        self._exchanges: list[float] = []

    def step_done(self, input_seconds: float, exchange_seconds: float, stage_seconds: float = 0.0) -> None:
        """Record the parts of a step spent on input, on the exchange of gradients and on waiting for other stages."""
        self._input += input_seconds
        self._stages += stage_seconds
        self._exchange += exchange_seconds
        self._exchanges.append(exchange_seconds)
        self._last = time.perf_counter()

    def so_far(self) -> Times:
        """Return this rank's times up to now; all of the exchange counts as sync."""
        rest = self._last - self._begin - self._input - self._exchange - self._stages
        return Times(max(0.0, rest), self._input, self._stages, self._exchange)

    def epoch_done(self, group: Group) -> Times:
        """Return the times with waiting and sync separated (collective, after the same number of steps)."""
        times = self.so_far()
        least = group.minimum(np.array(self._exchanges, np.float64))
        late = max(0.0, times.sync - float(least.sum()))
        times.waiting += late
        times.sync -= late
        return times
