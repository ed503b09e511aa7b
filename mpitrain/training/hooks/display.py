"""Progress on the screen: a live bar or a line per epoch."""

import time

from ..display.progress_log import ProgressLog
from .base import Hook, StepInfo


class ProgressDisplay(Hook):
    """Shows the progress of a run.

    Parameters
    ----------
    display : ProgressLog
    """

    def __init__(self, display: ProgressLog):
        self._display = display
        self._begin, self._first = 0.0, 0

    def epoch_begin(self, info: StepInfo) -> None:
        """Begin an epoch, or continue one that was resumed."""
        self._begin, self._first = time.perf_counter(), info.run.position.steps
        self._display.start(info.epoch, len(info.run.loader), self._first)

    def step_end(self, info: StepInfo) -> None:
        """Show the scores, the speed and the times of the epoch so far."""
        if not self._display.is_live:
            return
        run = info.run
        samples = run.samples(run.position.steps) - run.samples(self._first)
        self._display.step(info.train, samples / (time.perf_counter() - self._begin), info.times)

    def evaluate_end(self, info: StepInfo) -> None:
        """Print the line of the epoch."""
        assert info.result is not None
        self._display.epoch_done(info.result)

    def train_end(self, info: StepInfo) -> None:
        """Remove the bar."""
        self._display.stop()

    def exception(self, info: StepInfo, error: BaseException) -> None:
        """Remove the bar."""
        self._display.stop()
