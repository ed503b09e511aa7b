"""How what a plan works on gets to where MPI can read it, and back.

    Staging         NumPy arrays: MPI reads and writes them where they lie
    DirectStaging   arrays of a GPU, and an MPI that reads them where they lie (CUDA-aware)
    HostStaging     arrays of a GPU, and any MPI: messages leave from and land in page-locked memory of the host;
                    sums are still made on the GPU

A device works through queues (streams), and MPI knows nothing of them. Each plan has a stream of its own, so that
copies and sums of gradients run beside the backward pass that is still queued: ``begin`` lets it wait for what was
queued when the plan was started, ``ready`` stands before every round's messages and waits for this stream alone, and
``end`` lets what is queued from then on wait for it.
"""

import contextlib
from typing import Any, Protocol

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
        Work is queued, so ``ready`` must stand before messages.
    """

    direct = True
    queued = False

    def lane(self) -> "Staging":
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

    def ready(self) -> None:
        """Return when MPI may read and overwrite what was worked on."""


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

    def lane(self) -> Staging:
        """Return the same with a stream of its own."""
        return type(self)(self.device, self._combine)

    def begin(self) -> None:
        """Let the stream wait for the computation so far."""
        self._stream.wait_for(self.device.compute.record())

    def ready(self) -> None:
        """Wait for the stream."""
        self._stream.record().wait()

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
    """Arrays of a GPU by way of page-locked memory of the host."""

    direct = False

    def memory(self, num_elements: int, like: Any) -> np.ndarray:
        """Return page-locked memory."""
        return self.device.pinned_empty((num_elements,), like.dtype)

    def copy_out(self, message: np.ndarray, array: Any) -> None:
        """Queue a copy from the device."""
        self._stream.copy(message, array)

    def copy_in(self, array: Any, message: np.ndarray) -> None:
        """Queue a copy to the device."""
        self._stream.copy(array, message)


HOST = Staging()
"""For NumPy arrays."""
