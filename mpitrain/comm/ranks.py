"""Collectives for small arrays and Python objects, by the MPI library's own calls."""

import contextlib
import functools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from ..device import device_of
from ..errors import AgreedError, UserError
from .job import Job
from .late_comm import LateComm
from .shared_file import SharedFile
from .watch.watched import WatchedComm

FIRST_NAP, LONGEST_NAP = 1e-4, 0.01  # seconds


class Ranks:
    """The ranks of a communicator; all of them call each method together.

    Parameters
    ----------
    comm : WatchedComm or LateComm
    job : Job
    world_ranks : list of int, optional
        Rank in the job of each rank here, for messages; by default the ranks are all ranks of the job.

    Attributes
    ----------
    rank, size : int
    world_ranks : list of int
    job : Job
    """

    def __init__(self, comm: WatchedComm | LateComm, job: Job, world_ranks: list[int] | None = None) -> None:
        self._given, self.job = comm, job
        self.rank, self.size = comm.rank, comm.size
        self.world_ranks = world_ranks or list(range(comm.size))

    @functools.cached_property
    def _comm(self) -> WatchedComm:
        """The communicator; where it is a late one, the first use is collective."""
        return self._given.make() if isinstance(self._given, LateComm) else self._given

    def name_of(self, rank: int) -> str:
        """Return the name of a rank for messages, which is that of the whole job."""
        return f"rank {self.world_ranks[rank]}"

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Sum a small array over the ranks in place and return it, or its copy on the host if a device holds it."""
        with _on_host(array) as host:
            self._reduce(host, MPI.SUM)
        return host

    def maximum(self, array: np.ndarray) -> np.ndarray:
        """Take the maximum of each element over the ranks in place, and return the array."""
        self._reduce(array, MPI.MAX)
        return array

    def minimum(self, array: np.ndarray) -> np.ndarray:
        """Take the minimum of each element over the ranks in place, and return the array."""
        self._reduce(array, MPI.MIN)
        return array

    def _reduce(self, array: np.ndarray, op: MPI.Op) -> None:
        """Reduce ``array`` in place; where ranks share cores, one that waits leaves its core to the others."""
        if not self.job.place.oversubscribed:
            self._comm.Allreduce(MPI.IN_PLACE, array, op)
            return
        with self._comm.noted("Allreduce", MPI.IN_PLACE, array, op):
            request = self._comm.Iallreduce(MPI.IN_PLACE, array, op)
            while not request.Test():
                os.sched_yield()

    def broadcast(self, array: np.ndarray, root: int = 0) -> None:
        """Copy ``array`` of ``root`` to all ranks, in pieces of at most 1 GiB."""
        with _on_host(array) as host:
            flat = host.reshape(-1)
            longest = (1 << 30) // host.itemsize
            for i in range(0, flat.size, longest):
                self._comm.Bcast(flat[i : i + longest], root)

    def all_gather(self, item: Any) -> list[Any]:
        """Return the ``item`` of every rank, in order of rank (small Python objects)."""
        return self._comm.allgather(item)

    def open_file(self, path: Path) -> SharedFile:
        """Open an existing file that all ranks write to; raises OSError on ranks where it cannot be opened."""
        return SharedFile(self._comm, path, mpi_io=self.job.mpi_io)

    def barrier(self) -> None:
        """Wait until all ranks have called it."""
        self._comm.Barrier()

    def meet(self) -> None:
        """Wait until all ranks have called it, as ``barrier`` does, but sleep meanwhile instead of keeping a core busy.

        Meant for the end of a run, where one rank has work left and others share its cores. It may return up to
        ``LONGEST_NAP`` later than a barrier.
        """
        with self._comm.noted("Barrier"):
            request, nap = self._comm.Ibarrier(), FIRST_NAP
            while not request.Test():
                time.sleep(nap)
                nap = min(2 * nap, LONGEST_NAP)

    @contextlib.contextmanager
    def together(self, *, asleep: bool = False) -> Iterator[None]:
        """Run a block that may fail on any rank: if it does on one, all ranks raise the same AgreedError.

        The block contains no collective call; every rank enters it. With ``asleep``, ranks that have finished the
        block sleep until the others have (see ``meet``).
        """
        message = None
        try:
            yield
        except AgreedError:
            raise
        except UserError as error:
            message = str(error)
        if asleep:
            self.meet()
        messages = self.all_gather(message)
        failed = [(rank, text) for rank, text in enumerate(messages) if text is not None]
        if failed:
            rank, text = failed[0]
            raise AgreedError(text if rank == 0 else f"{self.name_of(rank)}: {text}")


@contextlib.contextmanager
def _on_host(array: Any) -> Iterator[np.ndarray]:
    """Yield ``array`` itself, or a copy on the host that is copied back to its device afterwards."""
    device = device_of(array)
    host = device.to_host(array)
    yield host
    if host is not array:
        device.copy_from_host(array, host)
        device.synchronize()
