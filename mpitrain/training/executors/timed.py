"""Execution of a step whose own work is measured (``--balance auto``)."""

from collections.abc import Sequence

from ...data.loader import Batch
from ..work_meter import WorkMeter
from .base import StepExecutor


class TimedExecutor:
    """Executor that measures the work of another one.

    Parameters
    ----------
    executor : StepExecutor
    meter : WorkMeter
    """

    def __init__(self, executor: StepExecutor, meter: WorkMeter):
        self._executor, self._meter = executor, meter

    def num_passes(self, batches: Sequence[Batch]) -> int:
        """Return the number of writes that complete each gradient."""
        return self._executor.num_passes(batches)

    def run(self, batches: Sequence[Batch], step: int) -> None:
        """Compute the gradients of all microbatches."""
        with self._meter.step(batches):
            self._executor.run(batches, step)
