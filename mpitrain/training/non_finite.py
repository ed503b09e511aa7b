"""A loss or a gradient that is no number: the run stops before any weight has changed, or leaves the step out."""

import math
from typing import TYPE_CHECKING

from ..context import Context
from ..data.loader import Batch
from ..errors import AgreedError
from .culprit import find_culprit

if TYPE_CHECKING:
    from .trainer import Trainer

MOST_BAD_STEPS = 10  # in a row: whatever is wrong does not go away by leaving steps out


class NonFinite:
    """Looks at the sums of every step, alike on all ranks.

    Parameters
    ----------
    trainer : Trainer
    ctx : Context
        What its steps are made with.
    """

    def __init__(self, trainer: "Trainer", ctx: Context):
        self._trainer, self._ctx = trainer, ctx
        self._states, self._in_a_row = trainer.session.arena.states.copy(), 0

    def begin(self) -> None:
        """Keep what forward changes, before a step."""
        self._states[...] = self._trainer.session.arena.states

    def passes(self, loss: float, norm: float, microbatches: list[Batch]) -> bool:
        """Return True if loss and norm of the gradient are numbers, False if the step is to be left out.

        Raises
        ------
        AgreedError
            On all ranks, if that is not to be (``--non-finite stop``), or has been so too often in a row.
        """
        if math.isfinite(loss) and math.isfinite(norm):
            self._in_a_row = 0
            return True
        trainer = self._trainer
        session, step = trainer.session, trainer.step + 1
        what = f"the norm of the gradient became {norm}" if math.isfinite(loss) else f"the loss became {loss}"
        where = find_culprit(session.model, session.arena, session.loss, self._ctx, microbatches, trainer.world)
        session.arena.states[...] = self._states
        if trainer.config.optimizer.non_finite == "stop":
            hint = "try a smaller --lr, --warmup or --clip-norm, or --non-finite skip"
            raise AgreedError(f"{what} in step {step}: {where}; {hint}", code=1)
        self._in_a_row += 1
        if self._in_a_row == MOST_BAD_STEPS:
            raise AgreedError(f"{what} in step {step}, the {MOST_BAD_STEPS}th in a row: {where}", code=1)
        trainer.record.step_skipped(step, trainer.position.epoch, f"{what}: {where}")
        return False
