"""Access of MPI to the buffers of a plan.

    Staging         NumPy arrays: MPI reads and writes them in place
    DirectStaging   arrays of a GPU and a CUDA-aware MPI, which reads and writes them in place
    HostStaging     arrays of a GPU and any MPI: messages are staged through page-locked memory of the host, segment by
                    segment (``staged.py``); sums are still computed on the GPU

Work on a device is queued in streams, which MPI does not know. Each plan has streams of its own, so that copies and
sums of gradients run in parallel with the rest of the backward pass: ``begin`` lets them wait for the work that was
queued when the plan was started, and ``end`` lets later work wait for them. Before the messages of a round start, the
plan tests whether its stream has reached them, and the rank continues to compute until it has.
"""

import contextlib
import math
from typing import Any, Protocol, Self

import numpy as np


class DeviceMemory(Protocol):
    """The part of a device (``device/cpu.py``) that staging uses."""

    compute: Any

    def pinned_empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return page-locked memory of the host."""

    def stream(self) -> Any:
        """Return a new stream."""

    def on(self, stream: Any) -> contextlib.AbstractContextManager[Any]:
        """Queue the work of a ``with`` block on ``stream``."""


class Staging:
    """Staging of NumPy arrays: messages are views of the arrays themselves, without waits.

    Attributes
    ----------
    direct_bytes : float
        Longest buffer whose arrays MPI reads and writes in place; 0 where it never does.
    may_try : bool
        It is not known whether MPI would do so with longer buffers, too; ``mpitrain kernel messages`` finds out.
    queued : bool
        Work is queued: the last ``mark`` must be ``reached`` before messages start.
    """

    direct_bytes = math.inf
    may_try = False
    queued = False

    def of_buffer(self, num_bytes: int) -> "Staging":
        """Return the staging of buffers of this length."""
        return self

    def lane(self) -> Self:
        """Return the staging of one plan."""
        return self

    def begin(self) -> None:
        """Prepare the start of a plan."""

    def end(self) -> None:
        """Finish the plan after its last round."""

    def computed(self) -> Any:
        """Return an event after the computation so far; None where the host computes, and it is over."""
        return None

    def combines_by(self, operator: Any) -> Any:
        """Return the function that combines two arrays by ``operator``, one of ``OPERATORS``."""
        return operator

    def memory(self, num_elements: int, like: Any) -> Any:
        """Return memory for messages."""
        return np.empty_like(like, shape=num_elements)

    def copy_out(self, message: Any, array: Any) -> None:
        """Copy ``array`` into the memory of a message."""
        message[...] = array

    def copy_in(self, array: Any, message: Any) -> None:
        """Copy a received message into ``array``."""
        array[...] = message

    def mark(self) -> None:
        """Mark the work that is queued so far."""

    def reached(self) -> bool:
        """Return whether the work before the mark is done, so that MPI may read and overwrite its arrays."""
        return True

    def reach(self) -> None:
        """Wait until the work before the mark is done."""


class DirectStaging(Staging):
    """Staging of arrays of a GPU that MPI reads and writes in place.

    Parameters
    ----------
    device : DeviceMemory
    combine : callable(operator) -> operator, optional
        Returns the kernel for an operator.
    direct_bytes : float
        Longer buffers are staged through the host.
    """

    queued = True

    def __init__(self, device: DeviceMemory, combine: Any = None, direct_bytes: float = math.inf):
        self.device, self._combine, self.direct_bytes = device, combine, direct_bytes
        self._staged: HostStaging | None = None
        self._stream = device.stream()
        self._mark: Any = None

    def of_buffer(self, num_bytes: int) -> Staging:
        """Return this, or staging through the host for a longer buffer than MPI is known to read."""
        if num_bytes <= self.direct_bytes:
            return self
        if self._staged is None:
            self._staged = HostStaging(self.device, self._combine)
        return self._staged

    def lane(self) -> Self:
        """Return a copy with a stream of its own."""
        return type(self)(self.device, self._combine)

    def begin(self) -> None:
        """Let the stream wait for the computation so far."""
        self._stream.wait_for(self.computed())

    def mark(self) -> None:
        """Record an event of the stream."""
        self._mark = self._stream.record()

    def reached(self) -> bool:
        """Return whether the event has occurred."""
        return bool(self._mark.done())

    def reach(self) -> None:
        """Wait for the event."""
        self._mark.wait()

    def computed(self) -> Any:
        """Return an event after the computation so far."""
        return self.device.compute.record()

    def end(self) -> None:
        """Let the computation from now on wait for the stream."""
        self.device.compute.wait_for(self._stream.record())

    def copy_out(self, message: Any, array: Any) -> None:
        """Queue a copy within the device."""
        with self.device.on(self._stream):
            message[...] = array

    def copy_in(self, array: Any, message: Any) -> None:
        """Queue a copy within the device."""
        with self.device.on(self._stream):
            array[...] = message

    def combines_by(self, operator: Any) -> Any:
        """Return the operator, or its kernel, on this stream."""
        put = operator if self._combine is None else self._combine(operator)

        def combine(target: Any, arrived: Any) -> None:
            with self.device.on(self._stream):
                put(target, arrived, out=target) if isinstance(put, np.ufunc) else put(target, arrived)

        return combine


class HostStaging(DirectStaging):
    """Staging through page-locked memory of the host: copies down on one stream, copies up and sums on another."""

    def __init__(self, device: DeviceMemory, combine: Any = None):
        super().__init__(device, combine, 0)
        self._down = device.stream()

    def of_buffer(self, num_bytes: int) -> Staging:
        """Return this."""
        return self

    def memory(self, num_elements: int, like: Any) -> np.ndarray:
        """Return page-locked memory."""
        return self.device.pinned_empty((num_elements,), like.dtype)

    def begin(self) -> None:
        """Let both streams wait for the computation so far."""
        now = self.computed()
        self._stream.wait_for(now)
        self._down.wait_for(now)

    def wait_down(self, event: Any) -> None:
        """Let copies from the device wait for ``event``."""
        self._down.wait_for(event)

    def wait_up(self, event: Any) -> None:
        """Let copies to the device wait for ``event``."""
        self._stream.wait_for(event)

    def copy_out(self, message: np.ndarray, array: Any) -> None:
        """Queue a copy from the device."""
        self._down.copy(message, array)

    def copied(self) -> Any:
        """Return an event after the copies from the device so far."""
        return self._down.record()

    def copy_in(self, array: Any, message: np.ndarray) -> None:
        """Queue a copy to the device."""
        self._stream.copy(array, message)

    def added(self) -> Any:
        """Return an event after the copies to the device, and the sums, so far."""
        return self._stream.record()


HOST = Staging()
"""Staging of NumPy arrays."""
