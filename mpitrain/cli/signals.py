"""Signals become wishes that the trainer asks for; all ranks fulfil them after the same step."""

import signal
from types import FrameType

from ..training.wishes import Wishes

# As batch systems use them: Slurm's --signal=USR1@120 and its SIGTERM announce the end of the job.
LEAVE = (signal.SIGTERM, signal.SIGUSR1)


EARLY = (signal.SIGUSR1, signal.SIGUSR2)


def hold_back() -> None:
    """Let SIGUSR1 and SIGUSR2 wait for ``Signals``: before somebody listens they would end the process.

    A job may be told to leave while its ranks still load their modules, and should be put back into the queue then too.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, EARLY)


class Signals:
    """From now on: SIGINT stops, SIGTERM and SIGUSR1 leave, SIGUSR2 saves; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self._stop = self._leave = self._save = False
        for number in (signal.SIGINT, *LEAVE, signal.SIGUSR2):
            signal.signal(number, self._came)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, EARLY)

    def __call__(self) -> Wishes:
        """Return what was wished; a wish to save is told once."""
        save, self._save = self._save, False
        return Wishes(self._stop, self._leave, save)

    def _came(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True
        elif number in LEAVE:
            self._leave = True
        else:
            self._save = True
