"""Signals as requests to the training loop, carried out by all ranks after the same step."""

import os
import signal
from types import FrameType

from ..comm.launch import launched_size
from ..training.control import ControlRequest

# As batch systems use them: Slurm's --signal=USR1@120 and its SIGTERM announce the end of the job. SIGHUP comes when
# the terminal is closed.
LEAVE = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


EARLY = (signal.SIGUSR1, signal.SIGUSR2)


def hold_back() -> None:
    """Block SIGUSR1 and SIGUSR2 until ``Signals`` handles them: by default they would end the process.

    A job may be told to leave while its ranks still load their modules, and should be put back into the queue then too.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, EARLY)


class Signals:
    """Signal handlers: SIGINT stops (the second at once), SIGTERM, SIGUSR1 and SIGHUP leave, SIGUSR2 saves.

    SIGHUP stays ignored where it was (nohup). A rank whose launcher is gone leaves, too: Open MPI's mpirun is ended by
    the terminal that closes, its ranks are not.
    """

    def __init__(self) -> None:
        self._stop = self._leave = self._save = False
        self._parent = os.getppid() if launched_size() > 1 else 0
        for number in (signal.SIGINT, *LEAVE, signal.SIGUSR2):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._came)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, EARLY)

    def __call__(self) -> ControlRequest:
        """Return the requests so far; a request to save is returned once."""
        save, self._save = self._save, False
        orphaned = self._parent != 0 and os.getppid() != self._parent
        return ControlRequest(self._stop, self._leave or orphaned, save)

    def _came(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True
        elif number in LEAVE:
            self._leave = True
        else:
            self._save = True
