"""How what a plan works on gets to where MPI can read it, and back.

    Staging         NumPy arrays: MPI reads and writes them where they lie
    DirectStaging   arrays of a GPU, and an MPI that reads them where they lie (CUDA-aware)
    HostStaging     arrays of a GPU, and any MPI: messages leave from and land in page-locked memory of the host, piece
                    by piece (``staged.py``); sums are still made on the GPU

A device works through queues (streams), and MPI knows nothing of them. Each plan has streams of its own, so that
copies and sums of gradients run beside the backward pass that is still queued: ``begin`` lets them wait for what was
queued when the plan was started, and ``end`` lets what is queued from then on wait for them. Before messages of a
round go or land, the plan asks whether its stream has come so far, and the rank goes on computing until it has.
"""

import contextlib
from typing import Any, Protocol, Self

import numpy as np


class DeviceMemory(Protocol):
    """What staging asks of a device (``device/cpu.py``)."""

    compute: Any

    def pinned_empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return page-locked memory of the host."""

    def stream(self) -> Any:
        """Return a new stream."""

    def on(self, stream: Any) -> contextlib.AbstractContextManager[Any]:
        """Let what is computed in a ``with`` block be queued on ``stream``."""


class Staging:
    """NumPy arrays: messages are views of the arrays themselves, nothing is waited for.

    Attributes
    ----------
    direct : bool
        MPI reads and writes the arrays where they lie.
    queued : bool
        Work is queued: before messages, what was ``marked`` must be ``reached``.
    """

    direct = True
    queued = False

    def lane(self) -> Self:
        """Return the staging of one plan."""
        return self

    def begin(self) -> None:
        """A plan is started."""

    def end(self) -> None:
        """Its last round is done."""

    def combines_by(self, operator: Any) -> Any:
        """Return what combines two arrays in place of ``operator`` (of ``OPERATORS``)."""
        return operator

    def memory(self, num_elements: int, like: Any) -> Any:
        """Return memory that messages leave from or land in."""
        return np.empty_like(like, shape=num_elements)

    def copy_out(self, message: Any, array: Any) -> None:
        """Copy ``array`` into the memory of a message."""
        message[...] = array

    def copy_in(self, array: Any, message: Any) -> None:
        """Copy what came into ``array``."""
        array[...] = message

    def mark(self) -> None:
        """Mark what has been asked for so far."""

    def reached(self) -> bool:
        """Return whether MPI may read and overwrite what was worked on before the mark."""
        return True

    def reach(self) -> None:
        """Return when it may."""


class DirectStaging(Staging):
    """Arrays of a GPU that MPI reads and writes where they lie.

    Parameters
    ----------
    device : DeviceMemory
    combine : callable(operator) -> operator, optional
        Names the kernel that stands for an operator.
    """

    queued = True

    def __init__(self, device: DeviceMemory, combine: Any = None):
        self.device, self._combine = device, combine
        self._stream = device.stream()
        self._mark: Any = None

    def lane(self) -> Self:
        """Return the same with a stream of its own."""
        return type(self)(self.device, self._combine)

    def begin(self) -> None:
        """Let the stream wait for the computation so far."""
        self._stream.wait_for(self.device.compute.record())

    def mark(self) -> None:
        """Record an event of the stream."""
        self._mark = self._stream.record()

    def reached(self) -> bool:
        """Ask for the event."""
        return bool(self._mark.done())

    def reach(self) -> None:
        """Wait for the event."""
        self._mark.wait()

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
        """Return the operator, or the kernel that stands for it, on this stream."""
        put = operator if self._combine is None else self._combine(operator)

        def combine(target: Any, arrived: Any) -> None:
            with self.device.on(self._stream):
                put(target, arrived, out=target) if isinstance(put, np.ufunc) else put(target, arrived)

        return combine


class HostStaging(DirectStaging):
    """Arrays of a GPU by way of page-locked memory of the host: down on one stream, up and added on another."""

    direct = False

    def __init__(self, device: DeviceMemory, combine: Any = None):
        super().__init__(device, combine)
        self._down = device.stream()

    def memory(self, num_elements: int, like: Any) -> np.ndarray:
        """Return page-locked memory."""
        return self.device.pinned_empty((num_elements,), like.dtype)

    def begin(self) -> None:
        """Let both streams wait for the computation so far."""
        now = self.device.compute.record()
        self._stream.wait_for(now)
        self._down.wait_for(now)

    def wait_down(self, event: Any) -> None:
        """Let copies from the device wait for ``event``."""
        self._down.wait_for(event)

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
"""For NumPy arrays."""
