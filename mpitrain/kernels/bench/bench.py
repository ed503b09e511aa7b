"""What every measurement of kernels needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .contenders import Contenders
from .stopwatch import Stopwatch


@dataclass
class Bench:
    """A device, and how it is measured.

    Parameters
    ----------
    device : CudaDevice, or what stands for it
    contenders : Contenders
    stopwatch : Stopwatch
    repeat : int
    say : callable(str)
        Told what begins.
    """

    device: Any
    contenders: Contenders
    stopwatch: Stopwatch
    repeat: int
    say: Callable[[str], None] = lambda _: None
