"""Guard of a trial: a thread that ends it when its time is over, or when another rank of its group has failed.

The trial runs in the main thread. The guard sends this thread a signal, whose handler raises an exception in it between
two instructions of Python. A sleep ends at once, and so does a wait for other ranks (``Ledger.interruptible``). Code in
C that does not return cannot be ended that way: then the guard says so, and the job ends.
"""

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from ...sweeps.state import FAILED, TIMED_OUT

SIGNAL = signal.SIGVTALRM  # which nothing else uses
TICK = 0.1  # seconds between two looks at the clock
AGAIN = 2.0  # seconds after which the exception is raised again, where the trial has caught it
STUCK = 20.0  # seconds after which the trial cannot be ended
GRACE = 3.0  # seconds that a trial has to end by itself after a step, once its time is over
LISTEN = 0.5  # seconds between two looks at whether another rank has failed


class TrialEnded(BaseException):
    """Raised in a trial from outside; not an Exception, which the trial might catch.

    Attributes
    ----------
    status, reason : str
    """

    def __init__(self, status: str, reason: str):
        super().__init__(reason)
        self.status, self.reason = status, reason


class Guard:
    """Context of one trial.

    Parameters
    ----------
    timeout : float
        Time of the trial, for messages.
    seconds : float
        What is left of it; 0 for no limit.
    others_failed : callable() -> bool
        Whether another rank of the group has failed.
    on_stuck : callable(str, str)
        Called with a status and a reason where the trial cannot be ended.

    Attributes
    ----------
    too_long : str
        The reason of a trial whose time is over.
    """

    def __init__(
        self,
        timeout: float,
        seconds: float,
        others_failed: Callable[[], bool],
        on_stuck: Callable[[str, str], None],
    ):
        self.too_long = f"it took longer than {timeout:g} s (timeout)"
        self._seconds, self._others_failed, self._on_stuck = seconds, others_failed, on_stuck
        self._verdict: TrialEnded | None = None
        self._armed = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="mpitrain-trial", daemon=True)

    @property
    def time_is_up(self) -> bool:
        """True once the time of the trial is over."""
        return self._seconds > 0 and time.monotonic() - self._began > self._seconds

    def end(self, status: str, reason: str) -> None:
        """End the trial; from any thread."""
        self._verdict = self._verdict or TrialEnded(status, reason)

    def __enter__(self) -> "Guard":
        self._began = time.monotonic()
        self._before = signal.signal(SIGNAL, self._raise)
        self._armed = True
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the guard; it may have ended already, or be interrupted by its own exception."""
        self._armed = False
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
            signal.signal(SIGNAL, self._before)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if self._armed and self._verdict is not None:
            raise self._verdict

    def _watch(self) -> None:
        listened = time.monotonic()
        while not self._over.wait(TICK):
            now = time.monotonic()
            if self._seconds and now - self._began > self._seconds + GRACE:
                self.end(TIMED_OUT, self.too_long)
            if self._verdict is None and now - listened > LISTEN:
                listened = now
                if self._others_failed():
                    self.end(FAILED, "another rank of its group failed")
            if self._verdict is not None:
                return self._insist(self._verdict)

    def _insist(self, verdict: TrialEnded) -> None:
        """Raise the exception in the main thread until the trial is over."""
        until = time.monotonic() + STUCK
        main = threading.main_thread().ident
        assert main is not None
        while time.monotonic() < until:
            signal.pthread_kill(main, SIGNAL)
            if self._over.wait(AGAIN):
                return
        self._on_stuck(verdict.status, verdict.reason)
