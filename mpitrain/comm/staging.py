"""How what a plan works on gets to where MPI can read it, and back.

    Staging         NumPy arrays: MPI reads and writes them where they lie
    DirectStaging   arrays of a GPU, and an MPI that reads them where they lie (CUDA-aware)
    HostStaging     arrays of a GPU, and any MPI: messages leave from and land in page-locked memory of the host;
                    sums are still made on the GPU

A device works through a stream: copies and sums are queued, and MPI knows nothing of the queue. So ``ready`` stands
before every round's messages: then all that was queued before is done, and MPI may read and overwrite.
"""

from typing import Any, Protocol

import numpy as np


class DeviceMemory(Protocol):
    """What staging asks of a device (``device.py``)."""

    def pinned_empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return page-locked memory of the host."""

    def copy_to_host(self, host: np.ndarray, array: Any) -> None:
        """Queue a copy of ``array`` to ``host``; both lie in one piece."""

    def copy_from_host(self, array: Any, host: np.ndarray) -> None:
        """Queue a copy of ``host`` to ``array``; both lie in one piece."""

    def synchronise(self) -> None:
        """Return when all that was queued is done."""


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

    def combines_by(self, operator: Any) -> Any:
        """Return the device's own kernel, if there is one."""
        return operator if self._combine is None else self._combine(operator)

    def ready(self) -> None:
        """Wait for the device's queue."""
        self.device.synchronise()


class HostStaging(DirectStaging):
    """Arrays of a GPU by way of page-locked memory of the host."""

    direct = False

    def memory(self, num_elements: int, like: Any) -> np.ndarray:
        """Return page-locked memory."""
        return self.device.pinned_empty((num_elements,), like.dtype)

    def copy_out(self, message: np.ndarray, array: Any) -> None:
        """Queue a copy from the device."""
        self.device.copy_to_host(message, array)

    def copy_in(self, array: Any, message: np.ndarray) -> None:
        """Queue a copy to the device."""
        self.device.copy_from_host(array, message)


HOST = Staging()
"""For NumPy arrays."""
