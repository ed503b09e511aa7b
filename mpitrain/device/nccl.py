"""All-reduce over GPUs by NVIDIA's library, through CuPy: a peer to measure against; not yet run."""

from typing import Any

from cupy.cuda import nccl

from ..errors import UserError
from .cpu import Event

MISSING = "NCCL is not installed: pip install nvidia-nccl-cu12 (or cu13), or take another --all-reduce"


def make_id() -> Any:
    """Return the identifier that all ranks of a new group must be given; one rank creates it. Its type is CuPy's."""
    if not nccl.available:
        raise UserError(MISSING)
    return nccl.get_unique_id()


class NcclGroup:
    """A group of all ranks, one GPU each; sums are queued on their own stream, next to the backward pass.

    Creating it and every call are collective.
    """

    def __init__(self, device: Any, unique_id: Any, size: int, rank: int):
        if not nccl.available:
            raise UserError(MISSING)
        self._device, self._stream = device, device.stream()
        self._communicator = nccl.NcclCommunicator(size, unique_id, rank)
        self._types = {"<f4": nccl.NCCL_FLOAT32, "<f8": nccl.NCCL_FLOAT64}

    def all_reduce(self, array: Any) -> Event:
        """Queue the sum of ``array`` over the ranks, in place, after the computation so far; return its end."""
        self._stream.wait_for(self._device.compute.record())
        place, stream = array.data.ptr, self._stream.stream.ptr
        self._communicator.allReduce(place, place, array.size, self._types[array.dtype.str], nccl.NCCL_SUM, stream)
        end: Event = self._stream.record()
        return end
