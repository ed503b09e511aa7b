"""Standard output and error while training: what happens to them never ends it, since its results are files.

What is printed goes through a ``Pump`` and is written by its thread. Nothing raises, and nobody waits until the process
has nothing else to do.
"""

import contextlib
import io
import os
import signal
import sys
from functools import partial
from typing import Any

from ..expendable import is_expendable
from ..plain_text import visible
from ..training.owner import in_batch_job
from .outlet import Outlet
from .pump import Pump
from .streams import Product
from .terminal import launcher_process

PATIENCE, BATCH_PATIENCE = 600.0, 30.0  # seconds at the end for a reader that reads nothing; in a batch job
NAMES = {1: "standard output", 2: "standard error"}
STEERING = "\n\r\t\x1b"  # control characters that a console writes on purpose


class PumpedStream(io.TextIOBase):
    """A text stream that a pump writes: nothing that happens to it is an error.

    Parameters
    ----------
    descriptor : int
    encoding : str
        Characters that it does not have are written as escapes.
    pump : Pump
    """

    def __init__(self, descriptor: int, encoding: str, pump: Pump):
        self._descriptor, self._encoding, self._pump = descriptor, encoding, pump

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Name of the encoding."""
        return self._encoding

    @property
    def errors(self) -> str:  # type: ignore[override]
        """Name of what is done with other characters."""
        return "backslashreplace"

    def write(self, text: str) -> int:
        """Write ``text`` soon; control characters that no console writes are escaped."""
        data = visible(text, keep=STEERING).encode(self._encoding, "backslashreplace")
        if data:
            self._pump.put(data, is_expendable())
        return len(text)

    def flush(self) -> None:
        """Do nothing: all is written as soon as it can be."""

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return True for a terminal."""
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        """Return True."""
        return True


_pumps: dict[int, Pump] = {}


def protect() -> None:
    """Let nothing that happens to what is printed end this process from now on."""
    if not (isinstance(sys.stdout, Product) and isinstance(sys.stderr, Product)):  # done before, or somebody else's
        return
    launcher = launcher_process()
    same = os.path.sameopenfile(1, 2)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
        if descriptor == 2 and same:  # one file or terminal: the order is kept
            _pumps[2] = _pumps[1]
        else:
            behind = f"/proc/{launcher}/fd/{descriptor}" if launcher else ""
            _pumps[descriptor] = Pump(Outlet(descriptor, behind), partial(_tell, descriptor))
            _pumps[descriptor].start()
        setattr(sys, name, PumpedStream(descriptor, stream.encoding or "utf-8", _pumps[descriptor]))


def troubles() -> dict[str, Any]:
    """Return what was not printed so far, and why (JSON-able): empty if all was."""
    found = {}
    for descriptor, pump in _pumps.items():
        if pump.error or pump.left_out or pump.lost:
            counts = {"lines_left_out": pump.left_out, "lines_lost": pump.lost}
            found[NAMES[descriptor]] = {"error": pump.error, **counts}
    return found


def drain(patience: float | None = None) -> None:
    """Return when all that was printed is written, or when its readers have read nothing for ``patience`` seconds.

    A reader that is only slow gets everything: where there is a pipe it is made larger, so that this process need not
    wait. By default patience is long, but short in a batch job, whose nodes others wait for.
    """
    if not _pumps:
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # nothing is left to be saved
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if patience is None:
        patience = BATCH_PATIENCE if in_batch_job() else PATIENCE
    _pumps[1].drain(patience, lambda: _say(2, "done; waiting for the reader of the standard output (Ctrl-C ends that)"))
    if _pumps[1].lost:
        _say(2, f"{_pumps[1].lost:,} lines could not be written to the {NAMES[1]}: {_pumps[1].error or 'no reader'}")
    if _pumps[2] is not _pumps[1]:
        _pumps[2].drain(patience, lambda: None)


def _tell(descriptor: int, reason: str) -> None:
    """Say on the other stream what is wrong with this one."""
    _say(3 - descriptor, f"{NAMES[descriptor]}: {reason}; training goes on")


def _say(descriptor: int, text: str) -> None:
    pump = _pumps.get(descriptor)
    if pump is not None and pump is not _pumps.get(3 - descriptor):
        pump.put(f"mpitrain: {text}\n".encode(), False)
