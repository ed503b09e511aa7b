"""What a long command is doing, on standard error: results on standard output stay alone there."""

import sys
import time

from ...comm.launch import launched_size

PATIENCE = 5.0  # seconds without a line where lines stay
MOMENT = 0.1  # seconds between two looks of a line that is written over


class Progress:
    """Tells of stages: one line that is written over at a terminal, else a line a stage and now and then one more.

    Parameters
    ----------
    command : str
        Begins each line.
    speaks : bool
        False on ranks above 0.
    """

    def __init__(self, command: str, speaks: bool = True):
        self._command, self._speaks = command, speaks
        self._live = speaks and launched_size() == 1 and sys.stderr.isatty()  # under mpirun a line is not ours
        self._stage, self._steps, self._done = "", 0.0, 0.0
        self._began = self._said = 0.0

    def begin(self, stage: str, steps: float) -> None:
        """Begin a stage of so many steps."""
        self.begin_quietly(stage, steps)
        if not self._live:
            self._say(stage)

    def begin_quietly(self, stage: str, steps: float) -> None:
        """Begin a stage of which nothing is said if it is short."""
        self._stage, self._steps, self._done = stage, steps, 0.0
        self._began = self._said = time.monotonic()

    def step(self, steps: float = 1.0) -> None:
        """One step is done, or ``steps``."""
        self._done += steps
        now = time.monotonic()
        if now - self._said < (MOMENT if self._live else PATIENCE) or self._done >= self._steps:
            return
        self._said = now
        left = (now - self._began) * (self._steps / self._done - 1.0)
        text = f"{self._stage}: {100 * self._done / self._steps:.0f}%, {max(1, round(left)):,} s left"
        self._say(f"\r{text}\033[K" if self._live else text, end="" if self._live else "\n")

    def end(self) -> None:
        """Leave no half line."""
        if self._live and self._stage:
            self._say("\r\033[K", end="")

    def _say(self, text: str, end: str = "\n") -> None:
        if self._speaks:
            head = "" if self._live else f"{self._command}: "
            print(f"{head}{text}", end=end, file=sys.stderr, flush=True)
