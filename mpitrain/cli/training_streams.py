"""Standard output and error of training: failures to write are tolerated, since the results are files.

Text is passed to an ``AsyncWriter``. Nothing raises, and nothing waits before the process has nothing else to do.
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
from ..training.directory.owner import in_batch_job
from .async_writer import AsyncWriter
from .outlet import Outlet
from .streams import Product
from .terminal import launcher_process

PATIENCE, BATCH_PATIENCE = 600.0, 30.0  # seconds at the end for a reader that reads nothing; in a batch job
NAMES = {1: "standard output", 2: "standard error"}
STEERING = "\n\r\t\x1b"  # control characters that a console writes on purpose


class AsyncStream(io.TextIOBase):
    """A text stream written by a thread; failures to write are no errors.

    Parameters
    ----------
    descriptor : int
    encoding : str
        Characters that it does not have are written as escapes.
    writer : AsyncWriter
    """

    def __init__(self, descriptor: int, encoding: str, writer: AsyncWriter):
        self._descriptor, self._encoding, self._writer = descriptor, encoding, writer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Name of the encoding."""
        return self._encoding

    @property
    def errors(self) -> str:  # type: ignore[override]
        """Name of the error handler of the encoding."""
        return "backslashreplace"

    def write(self, text: str) -> int:
        """Write ``text`` soon, with the control characters that consoles do not write escaped."""
        data = visible(text, keep=STEERING).encode(self._encoding, "backslashreplace")
        if data:
            self._writer.put(data, is_expendable())
        return len(text)

    def flush(self) -> None:
        """Do nothing: all text is written as soon as possible."""

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return True for a terminal."""
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        """Return True."""
        return True


_writers: dict[int, AsyncWriter] = {}


def protect() -> None:
    """Keep this process alive from now on, whatever happens to its output."""
    if not (isinstance(sys.stdout, Product) and isinstance(sys.stderr, Product)):  # done before, or replaced
        return
    launcher = launcher_process()
    same = os.path.sameopenfile(1, 2)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
        if descriptor == 2 and same:  # one file or terminal: the order is kept
            _writers[2] = _writers[1]
        else:
            behind = f"/proc/{launcher}/fd/{descriptor}" if launcher else ""
            _writers[descriptor] = AsyncWriter(Outlet(descriptor, behind), partial(_tell, descriptor))
            _writers[descriptor].start()
        setattr(sys, name, AsyncStream(descriptor, stream.encoding or "utf-8", _writers[descriptor]))


def output_problems() -> dict[str, Any]:
    """Return the output that was not printed so far, and why (JSON-able); empty if all was."""
    found = {}
    for descriptor, writer in _writers.items():
        if writer.error or writer.left_out or writer.lost:
            counts = {"lines_left_out": writer.left_out, "lines_lost": writer.lost}
            found[NAMES[descriptor]] = {"error": writer.error, **counts}
    return found


def drain(patience: float | None = None) -> None:
    """Wait until all output is written, or its readers have read nothing for ``patience`` seconds.

    A reader that is only slow gets everything: where there is a pipe it is made larger, so that this process need not
    wait. By default patience is long, but short in a batch job, whose nodes others wait for.
    """
    if not _writers:
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # nothing is left to be saved
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if patience is None:
        patience = BATCH_PATIENCE if in_batch_job() else PATIENCE
    output, errors = _writers[1], _writers[2]
    output.drain(patience, lambda: _say(2, "done; waiting for the reader of the standard output (Ctrl-C ends that)"))
    if output.lost:
        _say(2, f"{output.lost:,} lines could not be written to the {NAMES[1]}: {output.error or 'no reader'}")
    if errors is not output:
        errors.drain(patience, lambda: None)


def _tell(descriptor: int, reason: str) -> None:
    """Report the failure of one stream on the other."""
    _say(3 - descriptor, f"{NAMES[descriptor]}: {reason}; training continues")


def _say(descriptor: int, text: str) -> None:
    writer = _writers.get(descriptor)
    if writer is not None and writer is not _writers.get(3 - descriptor):
        writer.put(f"mpitrain: {text}\n".encode(), False)
