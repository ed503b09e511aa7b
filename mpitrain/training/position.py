"""Position of a run in the data, and its sums since the last evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass
class Position:
    """Position before step ``steps`` of ``epoch``; with the seed, it determines the samples of the step.

    Attributes
    ----------
    epoch : int
        Counted from 1.
    steps : int
        Steps of it that are done.
    totals : (3,) array
        Weight, loss and correct predictions of the steps since the last evaluation, summed over all ranks.
    seconds : float
        Time that those steps took.
    samples : int
        Samples of those steps, over all ranks.
    """

    epoch: int = 1
    steps: int = 0
    totals: np.ndarray = field(default_factory=lambda: np.zeros(3))
    seconds: float = 0.0
    samples: int = 0

    def add(self, sums: Sequence[float] | None, samples: int) -> None:
        """Count one more step with its sums; None for one that was left out."""
        self.steps += 1
        self.samples += samples
        if sums is not None:
            self.totals += np.asarray(sums)

    def begin_period(self) -> None:
        """Begin the sums anew, after an evaluation."""
        self.totals, self.seconds, self.samples = np.zeros(3), 0.0, 0

    def next_epoch(self) -> "Position":
        """Return the position at the beginning of the next epoch."""
        return replace(self, epoch=self.epoch + 1, steps=0)

    def copy(self) -> "Position":
        """Return a copy that does not change with this one."""
        return replace(self, totals=self.totals.copy())
