"""Guard against a non-finite loss or gradient where ranks make steps of their own (``--sync``)."""

from ...errors import AgreedError
from ...parallel.sync.base import LocalSteps
from ..nan_trace import find_non_finite
from .base import StepInfo
from .non_finite import HINT, MOST_BAD_STEPS, NonFiniteGuard


class OwnStepsGuard(NonFiniteGuard):
    """Guard of steps that a rank makes on its own: it traces those that are not finite, and all ranks agree later.

    ``LocalSteps`` leaves out the update of such a step. The next meeting ends the run on all ranks, or goes on without
    what was left out (``--non-finite skip``). Steps whose gradients are summed over all ranks are guarded as by
    default.

    Parameters
    ----------
    sync : LocalSteps
    skip : bool
    """

    def __init__(self, sync: LocalSteps, *, skip: bool):
        super().__init__(skip=skip)
        self._sync, self._first, self._most = sync, "", 0

    def gradients_ready(self, info: StepInfo) -> str | None:
        """Trace what is not finite on this rank; at a meeting, agree.

        Raises
        ------
        AgreedError
            On all ranks, at a meeting.
        """
        sync = self._sync
        if not sync.own_step:
            return super().gradients_ready(info)
        if sync.problem:
            self._first = self._first or self._trace(info)
            self._states[...] = self._kept
        self._in_a_row = self._in_a_row + 1 if sync.problem else 0
        self._most = max(self._most, self._in_a_row)
        if sync.meets:
            if sync.num_bad:
                self._agree(info)
            self._first, self._most = "", 0
        return None

    def _trace(self, info: StepInfo) -> str:
        """Return where the step of this rank is not finite."""
        found = find_non_finite(info.run, info.batches, info.step - 1)
        where = "" if found is None else f": {found.text}"
        return f"{self._sync.problem} in step {info.step}{where}"

    def _agree(self, info: StepInfo) -> None:
        """End the run, or note what is left out; all ranks call it together."""
        found = info.group.all_gather((self._first, self._most))
        first = max((text for text, _ in found if text), key=lambda text: "on rank" in text)
        if not self._skip:
            raise AgreedError(f"{first}; {HINT}", code=1)
        most = max(number for _, number in found)
        if most >= MOST_BAD_STEPS:
            raise AgreedError(f"{first}; a rank had {most} such steps in a row", code=1)
        info.run.results.skipped += self._sync.num_bad
        info.note(f"{self._sync.num_bad} steps of single ranks up to step {info.step} are left out: {first}")
