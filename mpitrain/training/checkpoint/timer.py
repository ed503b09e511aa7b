"""Schedule of checkpoints, and of the exit before the batch system ends the job."""

import os
import time
from collections.abc import Callable, Mapping

from ...duration import parse_time

MARGIN = 120.0  # seconds before the end of a Slurm job at which to leave; of a short job a tenth of what is left


class CheckpointTimer:
    """Checkpoint schedule of a run; time counts from its creation.

    Parameters
    ----------
    every : str
        A number of steps (``100``) or a time (``10m``); empty or 0 for never.
    max_time : str
        Time after which to leave; empty for no end but that of the Slurm job.
    clock : callable() -> float
        Seconds since 1970.

    Attributes
    ----------
    steps : int
        Steps between two checkpoints, 0 if time decides.
    """

    def __init__(
        self,
        every: str,
        max_time: str = "",
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
    ):
        self._clock = clock
        self.steps = int(every) if every.isdecimal() else 0
        self._seconds = parse_time(every) if every and not every.isdecimal() else 0.0
        self._saved = now = clock()
        ends = [now + parse_time(max_time)] if max_time else []
        job_end = environment.get("SLURM_JOB_END_TIME", "")
        if job_end.isdecimal() and int(job_end) > now:
            ends.append(int(job_end) - min(MARGIN, (int(job_end) - now) / 10))
        self._end = min(ends, default=float("inf"))

    def is_up(self) -> bool:
        """Return True when it is time to leave."""
        return self._clock() >= self._end

    def is_due(self) -> bool:
        """Return True when the last checkpoint is old enough for the next."""
        return 0 < self._seconds <= self._clock() - self._saved

    def is_due_after(self, step: int) -> bool:
        """Return True if a checkpoint is due after a step."""
        return self.steps > 0 and step % self.steps == 0

    def saved(self) -> None:
        """Restart the time to the next checkpoint."""
        self._saved = self._clock()
