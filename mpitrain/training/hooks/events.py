"""Event log of a run: its starts, notes and ends with their times, in events.jsonl."""

from ..directory.run_directory import RunDirectory
from ..environment import describe_environment
from .base import Hook, StepInfo


class EventLog(Hook):
    """Hook that records what happens to a run besides its steps.

    Parameters
    ----------
    directory : RunDirectory or None
        The directory on rank 0; None on the others.
    """

    def __init__(self, directory: RunDirectory | None):
        self._directory = directory

    def train_begin(self, info: StepInfo) -> None:
        """Record the command and the ranks (collective, since each rank knows its own host)."""
        facts = describe_environment(info.run.world, info.run.devices)
        directory = self._directory
        if directory is not None:
            directory.record("start", step=info.step, **facts)
            info.run.display.on_note.append(lambda text: directory.record("note", step=info.run.step, text=text))

    def train_end(self, info: StepInfo) -> None:
        """Record why the training has ended."""
        run = info.run
        reason = (
            "interrupted: a checkpoint was written to continue from" if run.preempted
            else "stopped on request" if run.stopped
            else run.finished or "all steps are done"
        )  # fmt: skip
        self._record_end(info, reason, failed=False)

    def exception(self, info: StepInfo, error: BaseException) -> None:
        """Record the error that has ended the training, as far as this rank knows it."""
        self._record_end(info, str(error) or type(error).__name__, failed=True)

    def _record_end(self, info: StepInfo, reason: str, *, failed: bool) -> None:
        if self._directory is not None:
            self._directory.record("end", step=info.step, reason=reason, failed=failed)
