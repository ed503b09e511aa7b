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
    forward, dx, dw, parameters, frozen : (n, n) float64 array
        Sums over the run. In ``dx`` are second forwards of blocks, not those of a whole stage.
    is_run : (n, n) bool array
        True where first <= last.
    """

    def __init__(self, costs: Sequence[UnitCost], slots: float = 1, recompute: Recomputed = "off"):
        self.recompute, self.slots = recompute, slots
        number = len(costs)
        self.is_run = np.triu(np.ones((number, number), bool))
        again = [cost.forward if recompute == "blocks" and cost.is_block else 0.0 for cost in costs]
        self.forward, self.dw = _sums_of(costs, "forward"), _sums_of(costs, "dw")
        self.dx = _sums_of(costs, "dx") + _sums(again)
        self.parameters, self.frozen = _sums_of(costs, "num_parameters"), _sums_of(costs, "num_frozen")
        self._seconds: dict[float, np.ndarray] = {}  # by ``again``
        self._fixed: dict[int, np.ndarray] = {}  # memory that does not grow with microbatches held, by ``late``
        outputs = np.array([cost.output_bytes for cost in costs], np.float64)
        received = np.concatenate([[0.0], outputs[:-1]])  # samples lie with the loader
        kept = self._set_memory(costs, outputs, received)
        self._activations = received[:, None] + kept

    def _set_memory(self, costs: Sequence[UnitCost], outputs: np.ndarray, received: np.ndarray) -> np.ndarray:
        """Return what is kept of each microbatch, and set what is used in turn.

        That is the memory of backward, and where results are computed again (``layers.Recompute``) theirs and that of
        their backward, which lie in blocks: in common for all blocks, or for a microbatch whose W is late side by side.
        """
        kept, backward = _sums_of(costs, "kept_bytes"), _sums_of(costs, "backward_bytes")
        none = np.zeros(self.is_run.shape)
        in_turn = [max(cost.in_turn_bytes, (cost.apart or cost).in_turn_bytes) for cost in costs]
        self._in_turn, self._in_turn_late = _most(np.array(in_turn)), _sums(in_turn)
        self._backward = backward
        self._again = self._again_backward = self._again_late = none
        if self.recompute == "stage":
            self._backward = received[:, None] + none
            self._again, self._again_backward, self._again_late = kept, backward, kept + backward
            return np.asarray(outputs + none)
        if self.recompute == "blocks":
            is_block = np.array([cost.is_block for cost in costs])
            inside = np.where(is_block, [cost.kept_bytes for cost in costs], 0)
            backward_inside = np.where(is_block, [cost.backward_bytes for cost in costs], 0)
            self._backward = backward + _sums(np.where(is_block, received - backward_inside, 0))
            self._again, self._again_backward = _most(inside), _most(backward_inside)
            self._again_late = _sums(inside + backward_inside)
            kept = kept + _sums(np.where(is_block, outputs - inside, 0))
        return kept

    def seconds(self, demand: StageDemand) -> np.ndarray:
        """Return the time of each run as a stage, on its rank: F, dx and dw of one microbatch; infinite for no run."""
        again = demand.again if self.recompute == "stage" else 0.0
        if again not in self._seconds:
            total = self.forward * (1 + again) + self.dx + self.dw
            self._seconds[again] = np.where(self.is_run, total, np.inf)
        return np.asarray(self._seconds[again] * demand.slowness)

    def num_bytes(self, demand: StageDemand) -> np.ndarray:
        """Return the memory of each run as a stage.

        Weights, gradients and slots; activations of the microbatches that it holds, those received included; memory of
        backward and of what is computed again, one for all microbatches except those whose W is late. Blocks that
        differ in shape may need a little more, since each of their arrays has memory for the largest at its place.
        Large arrays that units use in turn may need a little more or less, since their sizes differ, too.
        """
        late = demand.late
        if late not in self._fixed:
            weights = PARAMETER_BYTES * ((2 + self.slots) * self.parameters - (1 + self.slots) * self.frozen)
            backward = late * (self._backward + self._again_late) if late else self._backward + self._again_backward
            in_turn = late * self._in_turn_late if late else self._in_turn  # gradients put off keep their dy
            self._fixed[late] = weights + backward + self._again + in_turn
        return np.asarray(demand.held * self._activations + self._fixed[late])


def _sums_of(costs: Sequence[UnitCost], name: str) -> np.ndarray:
    """Return the sum over each run of an attribute, which differs for a first unit that is fused otherwise."""
    inside = np.array([getattr(cost, name) for cost in costs], np.float64)
    first = np.array([getattr(cost.apart or cost, name) for cost in costs], np.float64)
    return np.asarray(_sums(inside) + (first - inside)[:, None])


def _sums(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the sum over each run; (n,) -> (n, n)."""
    ends = np.concatenate([[0.0], np.cumsum(np.asarray(values, np.float64))])
    return np.asarray(ends[None, 1:] - ends[:-1, None])


def _most(values: np.ndarray) -> np.ndarray:
    """Return the largest value of each run, 0 or more; (n,) -> (n, n)."""
    return np.asarray(np.maximum.accumulate(np.triu(np.broadcast_to(values, (len(values),) * 2)), axis=1))
