"""Progress messages of long commands, on standard error: standard output holds results only."""

import sys
import time

from ..comm.launch import launched_size

PATIENCE = 5.0  # seconds without a line where lines stay
MOMENT = 0.1  # seconds between two looks of a line that is written over


class Progress:
    """Progress of stages: one line that is overwritten on a terminal, otherwise at least one line per stage.

    Parameters
    ----------
    command : str
        Name of the command, the start of each line.
    speaks : bool
        Whether to print; False on ranks above 0.
    """

    def __init__(self, command: str, speaks: bool = True):
        self._command, self._speaks = command, speaks
        self._live = speaks and launched_size() == 1 and sys.stderr.isatty()  # under mpirun a line is not ours
        self._stage, self._steps, self._done = "", 0.0, 0.0
        self._began = self._said = 0.0

    def begin(self, stage: str, steps: float) -> None:
        """Begin a stage of ``steps`` steps."""
        self.begin_quietly(stage, steps)
        if not self._live:
            self._say(stage)

    def begin_quietly(self, stage: str, steps: float) -> None:
        """Begin a stage, without a message unless it takes long."""
        self._stage, self._steps, self._done = stage, steps, 0.0
        self._began = self._said = time.monotonic()

    def step(self, steps: float = 1.0) -> None:
        """Record that ``steps`` more steps are done."""
        self._done += steps
        now = time.monotonic()
        if now - self._said < (MOMENT if self._live else PATIENCE) or self._done >= self._steps:
            return
        self._said = now
        left = (now - self._began) * (self._steps / self._done - 1.0)
        text = f"{self._stage}: {100 * self._done / self._steps:.0f}%, {max(1, round(left)):,} s left"
        self._say(f"\r{text}\033[K" if self._live else text, end="" if self._live else "\n")

    def end(self) -> None:
        """Clear an unfinished line."""
        if self._live and self._stage:
            self._say("\r\033[K", end="")

    def _say(self, text: str, end: str = "\n") -> None:
        if self._speaks:
            head = "" if self._live else f"{self._command}: "
            print(f"{head}{text}", end=end, file=sys.stderr, flush=True)
