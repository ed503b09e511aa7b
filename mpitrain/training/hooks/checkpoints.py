"""Checkpoint hook: begin checkpoints that are due, and complete them."""

from ...errors import AgreedError
from ..checkpoint import Writer
from ..checkpoint.timer import CheckpointTimer
from ..directory.resume import metadata_of
from .base import Hook, StepInfo


class Checkpoints(Hook):
    """Hook that begins checkpoints when due or requested, and completes them while training continues.

    Parameters
    ----------
    timer : CheckpointTimer
    writer : Writer or None
        None writes no checkpoints; the timer still ends the run for lack of time.
    """

    def __init__(self, timer: CheckpointTimer, writer: Writer | None):
        self._timer, self.writer = timer, writer
        self._late = False  # a checkpoint was due between two meetings of the ranks

    def step_begin(self, info: StepInfo) -> None:
        """Request by the clock of rank 0, never faster than the disk; report whether this rank still writes."""
        writer, requests = self.writer, info.run.requests
        requests.idle = writer is None or writer.idle
        if info.run.world.rank == 0:
            requests.preempt |= self._timer.is_up()
            if writer is not None and not writer.running:
                requests.save |= self._timer.is_due()

    def step_end(self, info: StepInfo) -> None:
        """Complete the checkpoint that all ranks have written, begin one that is due: the same on all ranks."""
        if self.writer is None:
            return
        agreed = info.run.agreed
        self._late |= self._timer.is_due_after(info.step)
        if info.local:
            return
        if self.writer.running and agreed.idle == info.run.world.size:
            self.writer.end()
        if agreed.save or self._late:
            if self.writer.running:  # checkpoints are requested faster than the disk takes them
                self.writer.end()
            self._write(self.writer, info)

    def interrupted(self, info: StepInfo) -> None:
        """Write a checkpoint in the middle of an epoch, and wait for it."""
        self._save(info)

    def train_end(self, info: StepInfo) -> None:
        """Write the last checkpoint, from which more epochs can continue; return when all are complete."""
        if self.writer is None:
            return
        if self.writer.stalls and not info.run.ends_early:
            self._save(info)
        self.writer.close()

    def exception(self, info: StepInfo, error: BaseException) -> None:
        """Complete the checkpoint in progress where all ranks end together."""
        if self.writer is not None and isinstance(error, AgreedError):
            self.writer.close()

    def _save(self, info: StepInfo) -> None:
        if self.writer is not None:
            self.writer.close()
            self._write(self.writer, info)
            self.writer.close()

    def _write(self, writer: Writer, info: StepInfo) -> None:
        info.run.announce("checkpoint_begin", info)
        info.run.data_parallel.sync.settle()
        writer.begin(info.step, metadata_of(info.run) if info.rank == 0 else {})
        self._timer.saved()
        self._late = False
