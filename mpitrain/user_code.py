"""Time limit and standard streams for code from a user's file, and descriptions of its errors.

A timer of the system interrupts such code twice a second, between two instructions of Python. An endless loop is
ended that way and its line is known; a call into C that does not return is not interrupted. There is no limit outside
the main thread, or where the system has no such timer.
"""

import atexit
import builtins
import signal
import sys
import threading
import time
from types import CodeType, FrameType, TracebackType
from typing import Any

from .suggest import nearest

TICK = 0.5  # seconds
MAIN = threading.main_thread()


class TooLongError(BaseException):
    """Raised when the time is over; not an Exception, which the user's code might catch.

    Attributes
    ----------
    line : int or None
        Line of the user's file at that time.
    """

    def __init__(self, line: int | None):
        super().__init__()
        self.line = line


class UserCode:
    """Context for code from ``file``, which raises TooLongError in it after ``seconds``; it can be entered repeatedly.

    Standard output is redirected to standard error, and standard input is empty unless it is a terminal.
    """

    __slots__ = ("_began", "_file", "_limited", "_streams", "seconds")

    def __init__(self, file: str, seconds: float):
        self._file, self.seconds = file, seconds

    def __enter__(self) -> None:
        self._streams = sys.stdin, sys.stdout
        if sys.stdin is None or not sys.stdin.isatty():  # at a terminal there may be a debugger
            sys.stdin = _NOTHING
        sys.stdout = sys.stderr
        self._limited = threading.current_thread() is MAIN
        if self._limited:
            self._began = time.monotonic()
            _timer.entered.append(self)
            _timer.start()

    def __exit__(self, *error: object) -> None:
        if self._limited:
            _timer.entered.pop()
        sys.stdin, sys.stdout = self._streams

    def check_time(self, frame: FrameType | None) -> None:
        """Raise TooLongError if the time is over."""
        if time.monotonic() - self._began > self.seconds and not _is_debugged():
            while frame is not None and frame.f_code.co_filename != self._file:
                frame = frame.f_back
            raise TooLongError(frame.f_lineno if frame else None)


class _Timer:
    """The system's timer: it fires once, and again as long as user code runs."""

    def __init__(self) -> None:
        self.entered: list[UserCode] = []
        self._since: float | None = None
        self._before: Any = None

    def start(self) -> None:
        if self._is_ours() or not hasattr(signal, "setitimer"):
            return
        self._since = time.monotonic()
        handler = signal.signal(signal.SIGALRM, self._tick)
        self._before = handler, *signal.setitimer(signal.ITIMER_REAL, TICK)

    def _is_ours(self) -> bool:
        """Return whether the timer runs; other code may have taken it since it was started."""
        return self._since is not None and signal.getsignal(signal.SIGALRM) == self._tick

    def _tick(self, number: int, frame: FrameType | None) -> None:
        if not self.entered:
            self.stop()
        else:
            signal.setitimer(signal.ITIMER_REAL, TICK)
            self.entered[-1].check_time(frame)

    def stop(self) -> None:
        """Restore the timer that was set before, with the time that was left."""
        if not self._is_ours():
            return
        handler, delay, interval = self._before
        passed = time.monotonic() - (self._since or 0.0)
        self._since = None
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
        if delay:
            signal.setitimer(signal.ITIMER_REAL, max(delay - passed, 1e-3), interval)


_timer = _Timer()
atexit.register(_timer.stop)  # without our handler, which Python takes away at its end, the signal ends the process


def _is_debugged() -> bool:
    bdb = sys.modules.get("bdb")
    return bdb is not None and isinstance(getattr(sys.gettrace(), "__self__", None), bdb.Bdb)


class _Nothing:
    """Empty standard input."""

    def readline(self, *_: object) -> str:
        raise EOFError("it reads from the keyboard (input), and there is nothing to read")

    read = readline

    def isatty(self) -> bool:
        return False


_NOTHING: Any = _Nothing()


def line_in(file: str, traceback: TracebackType | None) -> str:
    """Return " (line 7)" for the innermost frame in ``file``; "" if there is none."""
    line = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == file:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return "" if line is None else f" (line {line})"


def code_of(function: Any) -> CodeType | None:
    """Return the code of a function, also inside a partial or a decorated one; None if there is none."""
    while function is not None and not hasattr(function, "__code__"):
        function = getattr(function, "__wrapped__", None) or getattr(function, "func", None)
    code: CodeType | None = getattr(function, "__code__", None)
    return code


def describe(error: BaseException) -> str:
    """Return an error in one line, with a suggestion for a misspelled name."""
    if isinstance(error, SystemExit):
        return "sys.exit()"
    text = f"{type(error).__name__}: {' '.join(str(error).split())}" if str(error) else type(error).__name__
    if isinstance(error, NameError) and not isinstance(error, UnboundLocalError) and error.name:
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        there = [*frame.tb_frame.f_locals, *frame.tb_frame.f_globals, *vars(builtins)] if frame else []
        near = nearest(error.name, there)
        text += f"; did you mean {near!r}?" if near else ""
    return text
