"""The device interface and its CPU form: the array module, memory, and the order of copies."""

import contextlib
import math
import os
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from .. import cpu_kernels
from .bf16 import bfloat16
from .buffers import Buffers
from .weight_copy import WeightCopies, WeightCopy

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


class Event:
    """A point in the work of a stream. On the CPU it has passed as soon as it is made."""

    def __init__(self) -> None:
        self._time = time.perf_counter()

    def seconds_since(self, earlier: "Event") -> float:
        """Return the seconds of work between two events that were recorded as timed, and have passed."""
        return self._time - earlier._time

    def done(self) -> bool:
        """Return whether the work before it is done."""
        return True

    def wait(self) -> None:
        """Return when the work before it is done."""


class Stream:
    """A queue of work, done in the order of the calls. On the CPU work is done when the call returns."""

    def copy(self, target: Any, source: Any) -> None:
        """Copy between two contiguous arrays of one shape and type, of which at least one is the device's.

        On a GPU the call returns before the copy is done, and the host's array, which should come from
        ``Device.pinned_empty``, must be left alone until an event after it.
        """
        np.copyto(target, source)

    def record(self, timed: bool = False) -> Event:
        """Return an event after all work queued so far; ``timed`` for ``seconds_since``."""
        return Event()

    def wait_for(self, event: Event) -> None:
        """Begin the work queued from now on after ``event``; the caller does not wait."""


class Graph(ABC):
    """Captured work of a device that is launched again by one call."""

    @abstractmethod
    def launch(self) -> None:
        """Queue all of it on the compute stream, on the memory with which it was captured."""


class Device:
    """The CPU: NumPy arrays in memory that starts on a cache line.

    A GPU device has the same methods over CuPy; layers and ops call NumPy functions with ``out=``, which CuPy arrays
    implement themselves (NEP 13, NEP 18).

    Attributes
    ----------
    name : str
        The name in reports.
    xp : module
        NumPy, or its counterpart.
    compute : Stream
        The stream on which ops run.
    weight_copies : WeightCopies
        What ``copy_weights`` has made.
    precision : str
        fp32; on a GPU also tf32 (of matrix products) or bf16 (of these, of activations and their gradients).
    threads : int
        Cores that this process may use.
    blas_threads : int
        Cores that a NumPy product may use.
    captures, capturing : bool
        True if work can be captured as a ``Graph``, and while it is.
    fp32_activations : bool
        True if activations are fp32 whatever the precision: that of products alone is lower then.
    allocations : int
        The number of calls of a GPU's ``empty`` and ``zeros``. While it stays the same, no memory that is kept from
        step to step has moved.
    """

    captures = False
    capturing = False
    allocations = 0
    name = "cpu"
    xp: Any = np
    precision = "fp32"
    fp32_activations = False

    def __init__(self) -> None:
        self.threads = self.blas_threads = os.cpu_count() or 1  # BLAS's own default
        self.compute = Stream()
        self.weight_copies = WeightCopies()
        self._local = threading.local()

    @property
    def activation_dtype(self) -> "np.dtype[Any]":
        """The type of activations and of their gradients: bf16 in that precision, else fp32."""
        return bfloat16() if self.precision == "bf16" and not self.fp32_activations else np.dtype(np.float32)

    def copy_weights(self, weights: Any) -> WeightCopy | None:
        """Return a copy in bf16 of fp32 ``weights`` (n,), where products read it, for their owner to keep."""
        wanted = self.precision == "bf16" and weights.dtype == np.float32 and not isinstance(weights, np.ndarray)
        return self.weight_copies.make(self, weights) if wanted else None

    def use_threads(self, count: int) -> None:
        """Use ``count`` cores in this process, by the kernels in C or, without them, by BLAS."""
        # One thread pool only: threads of BLAS and of the kernels in C would wait for each other's cores.
        self.threads, self.blas_threads = count, count if cpu_kernels.C is None else 1
        threadpool_limits(self.blas_threads)
        if cpu_kernels.C is not None:
            cpu_kernels.C.use_threads(count)

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
        """Return uninitialized memory of ``shape``, aligned to 64 bytes."""
        dtype = np.dtype(dtype)
        num_bytes = math.prod(shape) * dtype.itemsize
        raw = np.empty(num_bytes + ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        return raw[start : start + num_bytes].view(dtype).reshape(shape)

    def zeros(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
        """Return zeroed memory of ``shape``, aligned to 64 bytes."""
        out = self.empty(shape, dtype)
        out.fill(0)
        return out

    def workspace(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return scratch memory of the calling thread, valid until the op that requested it returns.

        All ops of a thread share it: each has the memory of a name to itself while it runs.
        """
        if not hasattr(self._local, "buffers"):
            self._local.buffers = Buffers(self.empty)
        return self._local.buffers.empty(None, name, shape, dtype)

    @property
    def workspace_bytes(self) -> int:
        """The bytes of the calling thread's scratch memory."""
        return self._local.buffers.num_bytes if hasattr(self._local, "buffers") else 0

    @property
    def free_bytes(self) -> int:
        """The bytes of free memory (on the host, with those of caches)."""
        with contextlib.suppress(OSError, ValueError, StopIteration):
            lines = Path("/proc/meminfo").read_text("ascii").splitlines()
            line = next(line for line in lines if line.startswith("MemAvailable:"))
            return 1024 * int(line.split()[1])
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # unknown

    def pinned_empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        """Return memory of the host for copies to and from this device (pinned, for a GPU)."""
        pinned: np.ndarray = CPU.empty(shape, dtype)
        return pinned

    def from_host(self, array: np.ndarray) -> Any:
        """Return ``array`` as an array of this device (itself on the CPU)."""
        return array

    def to_host(self, array: Any) -> np.ndarray:
        """Return ``array`` as a NumPy array (itself on the CPU), in fp32 if it is bf16; waits for the device."""
        return np.asarray(array)

    def copy_to_host(self, host: np.ndarray, array: Any) -> None:
        """Queue a copy of ``array`` to ``host`` after the computation so far."""
        self.compute.copy(host, array)

    def copy_from_host(self, array: Any, host: np.ndarray) -> None:
        """Queue a copy of ``host`` to ``array`` after the computation so far."""
        self.compute.copy(array, host)

    def synchronize(self) -> None:
        """Return when all queued work is done."""
        self.compute.record().wait()

    def synchronize_current(self) -> None:
        """Return when all work is done that was queued on the stream of this thread's computations (``on``)."""
        self.synchronize()

    def stream(self) -> Stream:
        """Return a new stream for copies that overlap the computation."""
        return Stream()

    def on(self, stream: Stream) -> contextlib.AbstractContextManager[Any]:
        """Queue the computations of a ``with`` block on ``stream`` (of this device)."""
        return contextlib.nullcontext()

    def begin_capture(self) -> None:
        """Capture the work of the compute stream from now on instead of doing it.

        Until ``end_capture``, waiting for the device, reading an array and allocating memory are errors.
        """
        raise RuntimeError(f"{self.name} captures nothing")

    def end_capture(self) -> Graph:
        """Return the work captured since ``begin_capture``."""
        raise RuntimeError(f"{self.name} captures nothing")


CPU = Device()
_DEVICES: dict[type, Device] = {}


def register(array_type: type, device: Device) -> None:
    """Make ``device_of`` return ``device`` for arrays of ``array_type``."""
    _DEVICES[array_type] = device


def device_of(array: Any) -> Device:
    """Return the device that holds ``array``."""
    return _DEVICES.get(type(array), CPU)
