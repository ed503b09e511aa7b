"""Where arrays live: one object gives the array module and the memory (the only place that will import cupy)."""

import math
import os
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from . import native

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


class Device:
    """The CPU: arrays are NumPy's, memory starts on a cache line.

    A GPU device offers the same names over CuPy; layers and ops call NumPy functions with ``out=``, which CuPy
    arrays answer themselves (NEP 13, NEP 18).

    Attributes
    ----------
    threads : int
        Cores that a matrix product may use.
    """

    name = "cpu"
    xp: Any = np

    def __init__(self) -> None:
        self.threads = os.cpu_count() or 1  # what BLAS takes until it is told otherwise

    def use_threads(self, count: int) -> None:
        """Use ``count`` cores in this process: native kernels do, or BLAS where there are none."""
        if native.library is None:
            threadpool_limits(count)
        else:  # one pool: its threads and those of BLAS would wait for each other's cores
            threadpool_limits(1)
            native.library.use_threads(count)
        self.threads = count

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        """Return uninitialised memory of ``shape``, aligned to 64 bytes."""
        dtype = np.dtype(dtype)
        num_bytes = math.prod(shape) * dtype.itemsize
        raw = np.empty(num_bytes + ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        return raw[start : start + num_bytes].view(dtype).reshape(shape)

    def zeros(self, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        """Return zeroed memory of ``shape``, aligned to 64 bytes."""
        out = self.empty(shape, dtype)
        out.fill(0)
        return out

    def to_host(self, array: np.ndarray) -> np.ndarray:
        """Return ``array`` as a NumPy array (itself on the CPU)."""
        return array


CPU = Device()
