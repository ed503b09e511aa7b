"""Sums over ranks with different parts of a model: of the step's header and of the norm of the gradient."""

import math
from collections.abc import Sequence

import numpy as np

from ..arena import Arena
from ..optim import sum_of_squares
from ..parameter import Parameter
from ..step_header import StepHeader
from .gradient_sync import GradientSync
from .roles import Roles


class PartSums:
    """Sums over the ranks with different parts of a model, in one small message for each step.

    What several of them have alike counts on one: the loss of outputs that ranks of axis tensor all have, and the
    gradients of parameters that are not cut.

    Parameters
    ----------
    roles : Roles
    arena : Arena
    sync : GradientSync
    copies : sequence of Parameter
        Those that another stage of a pipeline has, too, and counts.

    Attributes
    ----------
    norm : float
        Of the gradient of the whole model, after ``sum``.
    """

    def __init__(self, roles: Roles, arena: Arena, sync: GradientSync, copies: Sequence[Parameter] = ()):
        self._roles, self._arena, self._sync = roles, arena, sync
        elsewhere = {id(p) for p in copies}
        self._not_counted = [
            p for p in arena.parameters if id(p) in elsewhere or not roles.counts(p.shard.axis if p.shard else "")
        ]
        self.norm = math.nan

    def sum(self, differs: bool, more: float = 0.0) -> bool:
        """Sum the header, which has the sums over ranks with other samples; return whether any rank ``differs``.

        ``more`` are squares of gradients that this rank counts besides those of the arena.
        """
        header, roles = self._arena.header[: StepHeader.CONTROL.stop], self._roles
        if not roles.counts_loss:
            header[StepHeader.TOTALS] = 0
        if not roles.counts_sums:
            header[...] = 0
        sums = roles.parts.sum(np.array([*header, self._squares() + more, differs], np.float64))
        header[...] = sums[:-2]
        self.norm = math.sqrt(sums[-2])
        return bool(sums[-1])

    def _squares(self) -> float:
        """Return the sum of squares of the gradients that this rank counts."""
        norm = self._sync.norm()
        if not self._not_counted:
            return norm * norm
        return max(0.0, norm * norm - self._squares_elsewhere())

    def _squares_elsewhere(self) -> float:
        arena, own = self._arena, self._sync.own
        squares = 0.0
        for p in self._not_counted:
            for part in own or (slice(p.start, p.stop),):
                start, stop = max(p.start, part.start), min(p.stop, part.stop)
                if start < stop:
                    squares += sum_of_squares(arena.device.to_host(arena.gradients[start:stop]))
        return float(self._roles.sums.sum(np.array([squares]))[0]) if own is not None else squares
