"""MPI's own all-reduce as a plan: the reference of every measurement."""

import os
from typing import Any

from mpi4py import MPI

from .plan import MAX_MESSAGE_BYTES
from .rounds import cut_segments
from .staging import HOST, Staging

_OPERATORS = {"sum": MPI.SUM, "max": MPI.MAX, "min": MPI.MIN}


class NativePlan:
    """MPI_Iallreduce with the interface of a ``Plan``."""

    algorithm = "native"

    def __init__(
        self,
        comm: Any,
        buffer: Any,
        *,
        op: str = "sum",
        staging: Staging = HOST,
        yield_cpu: bool = False,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ):
        self._comm = comm
        self._staging = staging
        self._yield_cpu = yield_cpu
        self.result = buffer
        self._op = _OPERATORS[op]
        self._parts = cut_segments(buffer, max(1, max_message_bytes // buffer.itemsize)) if comm.size > 1 else []
        self._requests: list[Any] = []
        self.messages = len(self._parts)
        self.bytes_sent = buffer.nbytes if self._parts else 0

    def start(self) -> None:
        """Start one MPI_Iallreduce for each segment, after a wait for queued work of a device.

        All ranks call MPI's collectives in one order, so a call cannot be postponed until the device is done.
        """
        self._staging.begin()
        self._staging.mark()
        self._staging.reach()
        self._requests = [self._comm.Iallreduce(MPI.IN_PLACE, part, self._op) for part in self._parts]

    def poll(self) -> bool:
        """Test all parts."""
        return bool(MPI.Request.Testall(self._requests))

    def wait(self) -> None:
        """Wait for all parts."""
        if self._yield_cpu:
            while not self.poll():
                os.sched_yield()
        else:
            MPI.Request.Waitall(self._requests)

    def free(self) -> None:
        """Do nothing: no resources are kept between starts."""
