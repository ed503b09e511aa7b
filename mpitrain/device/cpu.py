"""Where arrays live: one object gives the array module, the memory, and the order of copies."""

import contextlib
import math
import os
import time
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from .. import native

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


class Event:
    """A point in the work of a stream. The CPU's are behind us as soon as they are made."""

    def __init__(self) -> None:
        self._time = time.perf_counter()

    def seconds_since(self, earlier: "Event") -> float:
        """Return the seconds of work between two events that were recorded as timed, and are done."""
        return self._time - earlier._time

    def done(self) -> bool:
        """Return whether the work before it is done."""
        return True

    def wait(self) -> None:
        """Return when the work before it is done."""


class Stream:
    """Work that is done in the order in which it was asked for. The CPU's is done when the call returns."""

    def copy(self, target: Any, source: Any) -> None:
        """Copy between two arrays alike in shape and type, contiguous, of which at least one is the device's.

        On a GPU the call returns before the copy is done, and the host's array, which should come from
        ``Device.pinned_empty``, must be left alone until an event after it.
        """
        np.copyto(target, source)

    def record(self, timed: bool = False) -> Event:
        """Return an event after all that was asked of this stream so far; ``timed`` for ``seconds_since``."""
        return Event()

    def wait_for(self, event: Event) -> None:
        """Let what is asked from now on begin after ``event``; the caller does not wait."""


class Graph(ABC):
    """Work of a device that was written down once and can be asked for again by one call."""

    @abstractmethod
    def launch(self) -> None:
        """Ask the compute stream for all of it, on the memory that it was written down with."""


class Device:
    """The CPU: arrays are NumPy's, memory starts on a cache line.

    A GPU device offers the same names over CuPy; layers and ops call NumPy functions with ``out=``, which CuPy
    arrays answer themselves (NEP 13, NEP 18).

    Attributes
    ----------
    name : str
        What reports call it.
    xp : module
        NumPy, or what stands for it.
    compute : Stream
        Where ops run.
    precision : str
        Of matrix products: fp32; on a GPU also tf32 or bf16.
    threads : int
        Cores that this process may use.
    blas_threads : int
        Those that a product of NumPy may use.
    captures : bool
        What is asked of it can be captured as a ``Graph``.
    allocations : int
        How often ``empty`` and ``zeros`` of a GPU were called: who sees the same number again knows that nothing that
        is kept from step to step has moved.
    """

    captures = False
    allocations = 0
    name = "cpu"
    xp: Any = np
    precision = "fp32"

    def __init__(self) -> None:
        self.threads = self.blas_threads = os.cpu_count() or 1  # what BLAS takes until it is told otherwise
        self.compute = Stream()

    def use_threads(self, count: int) -> None:
        """Use ``count`` cores in this process: native kernels do, or BLAS where there are none."""
        # one pool: threads of BLAS and of native kernels would wait for each other's cores
        self.threads, self.blas_threads = count, count if native.kernels is None else 1
        threadpool_limits(self.blas_threads)
        if native.kernels is not None:
            native.kernels.use_threads(count)

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

    def pinned_empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        """Return memory of the host for copies to and from this device (pinned, for a GPU)."""
        return CPU.empty(shape, dtype)

    def from_host(self, array: np.ndarray) -> np.ndarray:
        """Return ``array`` as an array of this device (itself on the CPU)."""
        return array

    def to_host(self, array: Any) -> np.ndarray:
        """Return ``array`` as a NumPy array (itself on the CPU); waits for the device."""
        return np.asarray(array)

    def copy_to_host(self, host: np.ndarray, array: Any) -> None:
        """Queue a copy of ``array`` to ``host`` after the computation so far."""
        self.compute.copy(host, array)

    def copy_from_host(self, array: Any, host: np.ndarray) -> None:
        """Queue a copy of ``host`` to ``array`` after the computation so far."""
        self.compute.copy(array, host)

    def synchronise(self) -> None:
        """Return when all that was queued is done."""
        self.compute.record().wait()

    def stream(self) -> Stream:
        """Return a new stream for copies beside the computation."""
        return Stream()

    def on(self, stream: Stream) -> contextlib.AbstractContextManager[Any]:
        """Let what is computed in a ``with`` block be queued on ``stream`` (of this device)."""
        return contextlib.nullcontext()

    def begin_capture(self) -> None:
        """Write down what is asked of the compute stream from now on, and do not do it.

        Nobody may wait for the device, read an array or ask for memory by name until ``end_capture``.
        """
        raise RuntimeError(f"{self.name} captures nothing")

    def end_capture(self) -> Graph:
        """Return what was asked of the compute stream since ``begin_capture``."""
        raise RuntimeError(f"{self.name} captures nothing")


CPU = Device()
_DEVICES: dict[type, Device] = {}


def register(array_type: type, device: Device) -> None:
    """Make ``device_of`` know the device whose arrays are of ``array_type``."""
    _DEVICES[array_type] = device


def device_of(array: Any) -> Device:
    """Return the device on which ``array`` lies."""
    return _DEVICES.get(type(array), CPU)
