"""Times and memory of every stage that a model could have: all runs of units that follow each other.

Entry [first, last] of a table is the run of units from ``first`` to ``last``, both included.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from .demand import StageDemand
from .unit_cost import UnitCost

Recomputed = Literal["off", "blocks", "stage"]
"""Results that a stage does not keep for backward but computes again: none, those inside its blocks, or all."""

RECOMPUTED: tuple[Recomputed, ...] = get_args(Recomputed)

PARAMETER_BYTES = 4


class Tables:
    """Times and memory of every run of units.

    Parameters
    ----------
    costs : sequence of UnitCost
    slots : float
        Numbers that the optimizer keeps for each parameter on this rank (1 / P for one that P ranks share).
    recompute : Recomputed

    Attributes
    ----------
    forward, dx, dw, parameters : (n, n) float64 array
        Sums over the run. In ``dx`` are second forwards of blocks, not those of a whole stage.
    is_run : (n, n) bool array
        True where first <= last.
    """

    def __init__(self, costs: Sequence[UnitCost], slots: float = 1, recompute: Recomputed = "off"):
        self.recompute, self.slots = recompute, slots
        number = len(costs)
        self.is_run = np.triu(np.ones((number, number), bool))
        again = [cost.forward if recompute == "blocks" and cost.is_block else 0.0 for cost in costs]
        self.forward = sums([cost.forward for cost in costs])
        self.dx = sums([cost.dx + extra for cost, extra in zip(costs, again, strict=True)])
        self.dw = sums([cost.dw for cost in costs])
        self.parameters = sums([cost.num_parameters for cost in costs])
        self._seconds: dict[float, np.ndarray] = {}  # by ``again``
        self._fixed: dict[int, np.ndarray] = {}  # memory that does not grow with microbatches held, by ``late``
        self._backward = sums([cost.backward_bytes for cost in costs])
        outputs = np.array([cost.output_bytes for cost in costs], np.float64)
        received = np.concatenate([[0.0], outputs[:-1]])[:, None]  # samples lie with the loader
        kept, self._shared, self._own = self._activations_of(costs, outputs)
        self._activations = received + kept

    def _activations_of(
        self, costs: Sequence[UnitCost], outputs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what is kept of each microbatch, and memory of what is computed again: shared, or each its own."""
        all_kept = [cost.kept_bytes for cost in costs]
        if self.recompute == "stage":
            return np.broadcast_to(outputs, self.is_run.shape), sums(all_kept), sums(all_kept)
        if self.recompute == "blocks":
            inside = [cost.kept_bytes if cost.is_block else 0 for cost in costs]
            kept = sums([cost.output_bytes if cost.is_block else cost.kept_bytes for cost in costs])
            return kept, most(inside), sums(inside)
        return sums(all_kept), np.zeros(self.is_run.shape), np.zeros(self.is_run.shape)

    def seconds(self, demand: StageDemand) -> np.ndarray:
        """Return the time of each run as a stage: F, dx and dw of one microbatch; infinite where there is no run."""
        again = demand.again if self.recompute == "stage" else 0.0
        if again not in self._seconds:
            total = self.forward * (1 + again) + self.dx + self.dw
            self._seconds[again] = np.where(self.is_run, total, np.inf)
        return self._seconds[again]

    def num_bytes(self, demand: StageDemand) -> np.ndarray:
        """Return the memory of each run as a stage.

        Weights, gradients and slots; activations of the microbatches that it holds, those received included; memory of
        backward and of what is computed again, one for all microbatches except those whose W is late.
        """
        late = demand.late
        if late not in self._fixed:
            weights = PARAMETER_BYTES * (2 + self.slots) * self.parameters
            self._fixed[late] = weights + max(1, late) * self._backward + self._shared + late * self._own
        return np.asarray(demand.held * self._activations + self._fixed[late])


def sums(values: Sequence[float]) -> np.ndarray:
    """Return the sum over each run; (n,) -> (n, n)."""
    ends = np.concatenate([[0.0], np.cumsum(np.array(values, np.float64))])
    return np.asarray(ends[None, 1:] - ends[:-1, None])


def most(values: Sequence[float]) -> np.ndarray:
    """Return the largest value, but at least 0, of each run; (n,) -> (n, n)."""
    row = np.array(values, np.float64)
    return np.asarray(np.maximum.accumulate(np.triu(np.broadcast_to(row, (len(row), len(row)))), axis=1))
