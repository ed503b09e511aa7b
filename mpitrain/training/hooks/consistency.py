"""Comparison of the weights over the ranks."""

from .base import Hook, StepInfo


class WeightCheck(Hook):
    """Hook that compares a hash of the weights over all ranks, at an interval of steps and before each evaluation.

    Parameters
    ----------
    every : int
        Steps; 0 for evaluations only.
    """

    def __init__(self, every: int):
        self._every, self._due = every, False

    def step_end(self, info: StepInfo) -> None:
        """Compare at the end of each interval, when the ranks have met."""
        self._due |= self._every > 0 and info.step % self._every == 0
        if self._due and not info.local:
            self._due = False
            info.run.data_parallel.verify(f"after step {info.step}")

    def evaluate(self, info: StepInfo) -> None:
        """Compare before an evaluation."""
        whole = info.run.position.steps == len(info.run.loader)
        info.run.data_parallel.verify(f"after epoch {info.epoch}" if whole else f"after step {info.step}")
