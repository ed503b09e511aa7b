"""Snapshots of the last two steps, restored after the loss of a rank."""

from ..checkpoint.state import Snapshot
from ..position import Position
from ..run import TrainingRun
from .base import Hook, StepInfo


class Moment:
    """The state of a run before one of its steps."""

    def __init__(self, run: TrainingRun):
        self._run, self._snapshot = run, Snapshot(run.tensors)
        self.keep()

    def keep(self) -> None:
        """Copy the state as it is now."""
        self._snapshot.take()
        self.step, self.position = self._run.step, self._run.position.copy()

    def restore(self) -> None:
        """Bring the run back to this state."""
        run = self._run
        self._snapshot.restore()
        run.step, run.position = self.step, self.position.copy()
        run.stopped = run.preempted = False


class StepSnapshots(Hook):
    """Hook that keeps the states before the step in progress and before the previous one.

    Parameters
    ----------
    run : TrainingRun
    """

    def __init__(self, run: TrainingRun):
        self._run = run
        self._before_last, self._before_this = Moment(run), Moment(run)
        self._epoch_end: Position | None = None
        self._evaluation: Position | None = None

    def train_begin(self, info: StepInfo) -> None:
        """Keep the state at the start or continuation of the run."""
        self._before_last.keep()
        self._before_this.keep()

    def step_begin(self, info: StepInfo) -> None:
        """Keep the state before a step."""
        self._before_last, self._before_this = self._before_this, self._before_last
        self._before_this.keep()

    def evaluate(self, info: StepInfo) -> None:
        """Keep the position before an evaluation, which ends the sums of the training."""
        self._evaluation = self._run.position.copy()

    def epoch_end(self, info: StepInfo) -> None:
        """Keep the position before the epoch is over."""
        self._epoch_end = self._run.position.copy()

    def last_complete(self) -> tuple[int, int, int]:
        """Return the (steps, evaluations, epoch) that this rank has completed."""
        run, before = self._run, self._before_this
        here, there = run.position, before.position
        if run.step == before.step or (here.epoch, here.steps) == (there.epoch, there.steps):
            before.restore()
        return run.step, len(run.results.evaluations), run.position.epoch

    def go_back_to(self, step: int, evaluations: int, epoch: int) -> None:
        """Bring the run to the position of all survivors; the three never decrease, and grow in this order."""
        run = self._run
        if run.step > step:
            next(moment for moment in (self._before_this, self._before_last) if moment.step == step).restore()
        if len(run.results.evaluations) > evaluations and self._evaluation is not None:
            run.position = self._evaluation.copy()
        elif run.position.epoch > epoch and self._epoch_end is not None:
            run.position = self._epoch_end.copy()
        run.results.forget_after(evaluations)
        run.finished = ""
        assert (run.step, run.position.epoch) == (step, epoch)
