"""Where in the data a run stands, and what its unfinished epoch has brought so far."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass
class Position:
    """The next step is step ``steps`` of ``epoch``: with the seed, that says which samples it takes.

    Attributes
    ----------
    epoch : int
        Counted from 1.
    steps : int
        Steps of it that are done.
    totals : (3,) array
        Weight, loss and correct predictions of those, summed over all ranks.
    seconds : float
        That they took.
    """

    epoch: int = 1
    steps: int = 0
    totals: np.ndarray = field(default_factory=lambda: np.zeros(3))
    seconds: float = 0.0

    def add(self, sums: Sequence[float] | None) -> None:
        """Count one more step; None for one that was left out."""
        self.steps += 1
        if sums is not None:
            self.totals += np.asarray(sums)

    def copy(self) -> "Position":
        """Return a copy that does not change with this one."""
        return replace(self, totals=self.totals.copy())
