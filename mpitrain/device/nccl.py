"""Sums over GPUs, and messages between them, by NVIDIA's library, through CuPy; not yet run."""

from typing import Any

from cupy.cuda import nccl

from ..errors import UserError
from .cpu import Event

MISSING = "NCCL is not installed: pip install nvidia-nccl-cu12 (or cu13), or go without nccl"


def make_id() -> Any:
    """Return the identifier that all ranks of a new group must be given; one rank creates it. Its type is CuPy's."""
    if not nccl.available:
        raise UserError(MISSING)
    return nccl.get_unique_id()


class NcclGroup:
    """A group of ranks, one GPU each; its calls are queued on a stream of their own, next to the computation.

    Creating it and every sum are collective. A message holds the stream until the other end's call has its turn, and
    NCCL may connect two ranks in their first call, which then returns when the other end calls, too.
    """

    def __init__(self, device: Any, unique_id: Any, size: int, rank: int):
        if not nccl.available:
            raise UserError(MISSING)
        self._device, self._stream = device, device.stream()
        self._size, self._rank = size, rank
        self._communicator = nccl.NcclCommunicator(size, unique_id, rank)
        self._types = {"<f4": nccl.NCCL_FLOAT32, "<f8": nccl.NCCL_FLOAT64}

    def all_reduce(self, array: Any) -> Event:
        """Queue the sum of ``array`` over the ranks, in place, after the computation so far; return its end."""
        self._stream.wait_for(self._device.compute.record())
        place, stream = array.data.ptr, self._stream.stream.ptr
        self._communicator.allReduce(place, place, array.size, self._types[array.dtype.str], nccl.NCCL_SUM, stream)
        end: Event = self._stream.record()
        return end

    def all_to_all(self, array: Any, result: Any) -> Event:
        """Queue messages from all to all: part p of ``array`` goes to rank p, part p of ``result`` comes from there."""
        self._stream.wait_for(self._device.compute.record())
        stream, each = self._stream.stream.ptr, array.nbytes // self._size
        nccl.groupStart()
        for peer in range(self._size):
            self._communicator.send(array.data.ptr + peer * each, each, nccl.NCCL_UINT8, peer, stream)
            self._communicator.recv(result.data.ptr + peer * each, each, nccl.NCCL_UINT8, peer, stream)
        nccl.groupEnd()
        end: Event = self._stream.record()
        return end

    def all_gather(self, array: Any) -> Event:
        """Queue the exchange of this rank's part of ``array`` for those of all ranks, in place; return its end."""
        self._stream.wait_for(self._device.compute.record())
        place, each = array.data.ptr, array.nbytes // self._size
        stream = self._stream.stream.ptr
        self._communicator.allGather(place + self._rank * each, place, each, nccl.NCCL_UINT8, stream)
        end: Event = self._stream.record()
        return end

    def send(self, array: Any, peer: int, after: Event) -> Event:
        """Queue a message to ``peer``, behind all calls of this group and ``after``; return its end."""
        return self._message(self._communicator.send, array, peer, after)

    def receive(self, array: Any, peer: int, after: Event) -> Event:
        """Queue a message from ``peer``, which sends as many bytes, as ``send`` does; return its end."""
        return self._message(self._communicator.recv, array, peer, after)

    def _message(self, call: Any, array: Any, peer: int, after: Event) -> Event:
        self._stream.wait_for(after)
        call(array.data.ptr, array.nbytes, nccl.NCCL_UINT8, peer, self._stream.stream.ptr)
        end: Event = self._stream.record()
        return end

    def free(self) -> None:
        """Free the communicator, when no call is under way."""
        self._communicator.destroy()
