"""Where the time of a rank goes: compute, input, waiting for other ranks, and sync.

The time that a rank spends in the gradient exchange is waiting and transfer in one. The rank that comes last to a
step waits for nobody, so the least time that any rank spent in it is transfer, and what another rank spent beyond
that it spent waiting. One reduction of a vector per epoch tells them apart; no step pays for it.
"""

import time
from dataclasses import dataclass, fields

import numpy as np

from ..comm.world import World


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


class StepClock:
    """Measures one epoch of steps."""

    def __init__(self) -> None:
        self._begin = self._last = time.perf_counter()
        self._input = 0.0
        self._exchanges: list[float] = []

    def step_done(self, input_seconds: float, exchange_seconds: float) -> None:
        """Note the part of a step that went into getting its batch and into exchanging gradients."""
        self._input += input_seconds
        self._exchanges.append(exchange_seconds)
        self._last = time.perf_counter()

    def so_far(self) -> Times:
        """Return this rank's times up to now; all of the exchange is called sync."""
        exchange = sum(self._exchanges)
        total = self._last - self._begin
        return Times(max(0.0, total - self._input - exchange), self._input, 0.0, exchange)

    def epoch_done(self, world: World) -> Times:
        """Return the times with waiting and sync told apart (every rank calls this after as many steps)."""
        times = self.so_far()
        least = world.minimum(np.array(self._exchanges, np.float64))
        times.waiting = max(0.0, times.sync - float(least.sum()))
        times.sync -= times.waiting
        return times
