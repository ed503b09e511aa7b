"""A watch over launches: a kernel that does not end is named, with its grid and arguments, and the process ended.

A barrier that waits for a phase that never comes hangs the GPU, and the host only notices at its next wait, which may
be far away. ``MPITRAIN_LAUNCH_TIMEOUT=SECONDS`` makes every launch wait for its end, for so long; it is for kernels
that are being written or tried on a new GPU, and costs the overlap of host and GPU.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import UserError
from .kernel import Kernel
from .plan import Launch

VARIABLE = "MPITRAIN_LAUNCH_TIMEOUT"
EXIT_HANGS = 124  # as timeout(1)


class LaunchWatch:
    """Waits for each launch, at most ``limit_s`` seconds.

    Parameters
    ----------
    limit_s : float
    end : callable(str), optional
        Called, by another thread, with the description of a launch that takes longer; as a default it writes it to
        stderr and ends the process, since nothing else ends a kernel.
    """

    def __init__(self, limit_s: float, end: "Callable[[str], None] | None" = None):
        self.limit_s, self._end = limit_s, end or _end_process
        self._running: dict[int, tuple[float, Kernel, Launch, Sequence[Any]]] = {}  # of each thread
        threading.Thread(target=self._watch, daemon=True, name="launch watch").start()

    @contextlib.contextmanager
    def over(self, device: Any, kernel: Kernel, plan: Launch, arguments: Sequence[Any]) -> Iterator[None]:
        """Watch the launch in a ``with`` block, and wait for its end; a captured launch is only written down."""
        thread = threading.get_ident()
        self._running[thread] = time.monotonic(), kernel, plan, arguments
        try:
            yield
            if not device.capturing:
                device.synchronize_current()
        finally:
            del self._running[thread]

    def _watch(self) -> None:
        while True:
            time.sleep(min(0.5, self.limit_s / 10))
            for begun, kernel, plan, arguments in list(self._running.values()):
                if time.monotonic() - begun > self.limit_s:
                    self._end(f"{kernel} has not ended after {self.limit_s:g} s: {describe(plan, arguments)}")
                    return


def describe(plan: Launch, arguments: Sequence[Any]) -> str:
    """Return a launch in words; contents of arrays are left out, since to read them would be to wait for the GPU."""
    shape = f"grid {plan.grid}, block {plan.block}, {plan.shared_bytes} bytes of shared memory"
    return f"{shape}; arguments: {', '.join(map(_describe_argument, arguments))}"


def _describe_argument(argument: Any) -> str:
    if argument.ndim:
        return f"{argument.dtype} {tuple(argument.shape)}"
    if argument.dtype.names:
        return " ".join(f"{name}={argument[name]}" for name in argument.dtype.names)
    if argument.dtype.kind == "V":
        words = argument.reshape(1).view(np.uint32) if argument.nbytes % 4 == 0 else argument.reshape(1).view(np.uint8)
        return "(" + " ".join(map(str, words)) + ")"
    return str(argument[()])


def _end_process(text: str) -> None:
    sys.stderr.write(f"\nmpitrain: {text}\n")
    sys.stderr.flush()
    os._exit(EXIT_HANGS)


def from_environment() -> LaunchWatch | None:
    """Return the watch that ``MPITRAIN_LAUNCH_TIMEOUT`` asks for.

    Raises
    ------
    UserError
        If it is not a positive number.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UserError(f"{VARIABLE} is a number of seconds, not {text!r}")
    return LaunchWatch(seconds)
