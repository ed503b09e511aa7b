"""Comparison of the weights over the ranks."""

from .base import Hook, StepInfo


class WeightCheck(Hook):
    """Compares a hash of the weights over all ranks, every so many steps and after each epoch.

    Parameters
    ----------
    every : int
        Steps; 0 for epochs only.
    """

    def __init__(self, every: int):
        self._every = every

    def step_end(self, info: StepInfo) -> None:
        """Compare after every so many steps."""
        if self._every and info.step % self._every == 0:
            info.run.data_parallel.verify(f"after step {info.step}")

    def epoch_end(self, info: StepInfo) -> None:
        """Compare after each epoch."""
        info.run.data_parallel.verify(f"after epoch {info.epoch}")
