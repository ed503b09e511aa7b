"""Standard output and error of commands: failure to write the output is an error, in one sentence."""

import atexit
import contextlib
import gc
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

BROKEN_PIPE = 141  # exit code, as of a shell whose command was ended by SIGPIPE


class Product:
    """A text stream that remembers a failure to write, even if a library has caught the error.

    Parameters
    ----------
    stream : text stream

    Attributes
    ----------
    failure : OSError or None
    """

    def __init__(self, stream: Any):
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write ``text``; raises OSError if that cannot be."""
        with self._noted():
            return int(self._stream.write(text))

    def flush(self) -> None:
        """Write what is still in memory; raises OSError if that cannot be."""
        with self._noted():
            self._stream.flush()

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failure = error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def prepare() -> None:
    """Make the standard streams usable, even if they are closed or their encoding is limited.

    A closed descriptor would be given to the next file that is opened, which then got what is printed.
    """
    if isinstance(sys.stdout, Product):
        return
    for descriptor, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):  # writing to 1 stays an error
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, mode), True)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(descriptor, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        elif not isinstance(stream, io.TextIOWrapper) or stream is not getattr(sys, f"__{name}__"):
            return  # replaced, by a test for example
        else:
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, Product(stream))
    atexit.register(_end)  # before MPI is started, whose end comes first then


def finish(code: int) -> int:
    """Return the exit code of a command: ``code``, or that of a failure if its output is not complete."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    failure = output_failure()
    if failure is None:
        return code
    sys.stdout.failure = None  # type: ignore[union-attr]  # reported once
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still in the buffer goes there
    if isinstance(failure, BrokenPipeError):
        return BROKEN_PIPE
    with contextlib.suppress(OSError, ValueError):
        print(f"mpitrain: cannot write the standard output: {failure.strerror}", file=sys.stderr, flush=True)
    return code or 1


def output_failure() -> OSError | None:
    """Return the reason why output of this process was not written; None if all was so far."""
    return getattr(sys.stdout, "failure", None)


def _end() -> None:
    """Write the rest, after MPI is finalized and no other rank waits for this process."""
    with contextlib.suppress(KeyboardInterrupt):
        if streams := sys.modules.get(f"{__package__}.training_streams"):
            streams.drain()
    gc.freeze()  # a last collection of what the system gets back anyway takes a tenth of a second
