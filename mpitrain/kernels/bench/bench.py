"""The common base of kernel measurements."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .contenders import Contenders
from .stopwatch import Stopwatch


@dataclass
class Bench:
    """A device, contenders and a stopwatch.

    Parameters
    ----------
    device : CudaDevice or a stand-in
    contenders : Contenders
    stopwatch : Stopwatch
    repeat : int
    say : callable(str)
        Called with a description of each measurement that begins.
    over : callable
        Returns whether the time is over; then no further measurement begins.
    """

    device: Any
    contenders: Contenders
    stopwatch: Stopwatch
    repeat: int
    say: Callable[[str], None] = lambda _: None
    over: Callable[[], bool] = lambda: False
