"""Guard against a non-finite loss or gradient: end the run before any weight has changed, or skip the step."""

import math

from ...errors import AgreedError
from ..nan_trace import locate_non_finite
from .base import Hook, StepInfo

MOST_BAD_STEPS = 10  # in a row: the cause does not go away by skipping steps
HINT = "try a smaller --lr, --warmup or --clip-norm, or --non-finite skip"


class NonFiniteGuard(Hook):
    """Hook that checks the loss and gradient norm of every step, which are the same on all ranks.

    Parameters
    ----------
    skip : bool
        Leave out the update of such a step instead of ending the run (``--non-finite skip``).
    """

    decides = False  # by anything but the loss and the norm

    def __init__(self, *, skip: bool):
        self._skip, self._in_a_row = skip, 0

    def train_begin(self, info: StepInfo) -> None:
        """Make memory for the running statistics."""
        self._states = info.arena.states
        self._kept = self._states.copy()

    def step_begin(self, info: StepInfo) -> None:
        """Keep the running statistics, which forward changes."""
        self._kept[...] = self._states

    def gradients_ready(self, info: StepInfo) -> str | None:
        """Return the reason to skip a step that is not finite.

        Raises
        ------
        AgreedError
            On all ranks, where such steps are not skipped, or were skipped too often in a row.
        """
        assert info.totals is not None
        loss, norm = info.totals.loss, info.norm
        if math.isfinite(loss) and math.isfinite(norm):
            self._in_a_row = 0
            return None
        what = f"the norm of the gradient became {norm}" if math.isfinite(loss) else f"the loss became {loss}"
        where = locate_non_finite(info.run, info.batches, info.step - 1)
        self._states[...] = self._kept
        if not self._skip:
            raise AgreedError(f"{what} in step {info.step}: {where}; {HINT}", code=1)
        self._in_a_row += 1
        if self._in_a_row == MOST_BAD_STEPS:
            raise AgreedError(f"{what} in step {info.step}, the {MOST_BAD_STEPS}th in a row: {where}", code=1)
        return f"{what}: {where}"
