"""The ranks of a job: the only module, with plan.py, that talks to MPI."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a launcher that does not fit: lonely_message says it once
        from mpi4py import MPI
except (ImportError, RuntimeError) as error:  # mpi4py is installed, but no MPI library can be loaded
    from ..errors import UserError

    raise UserError(
        f"mpi4py found no MPI library ({error}): install one with pip install 'mpitrain[mpich]' or load your "
        "system's MPI (module load ...)"
    ) from None

from ..collectives import ALL_REDUCE
from ..errors import AgreedError, UserError
from .launch import lonely_message
from .plan import NativePlan, Plan

ALL_REDUCE_NAMES = (*ALL_REDUCE, "native", "auto")
# Bytes of a chunk from which `auto` takes the ring. A round from Python costs a few microseconds; where ranks
# outnumber cores it costs a turn of the scheduler, and the tree's few rounds win for far longer.
RING_CHUNK = 4 * 1024
RING_CHUNK_OVERSUBSCRIBED = 256 * 1024


class World:
    """This rank among all ranks.

    Parameters
    ----------
    comm : MPI.Comm
        The ranks that work together; duplicated, so that no foreign message gets in between.

    Attributes
    ----------
    rank, size : int
    node_rank, node_size : int
        The same among the ranks that share this node's memory.
    cores : int
        Cores that this rank can count on: those it may run on, divided by the ranks that share them.
    oversubscribed : bool
        True when the ranks of this node outnumber its cores.
    """

    def __init__(self, comm: Any = MPI.COMM_WORLD) -> None:
        if comm == MPI.COMM_WORLD and (message := lonely_message(comm.size)):
            raise UserError(message)
        self._comm = comm.Dup()
        self.rank, self.size = self._comm.rank, self._comm.size
        node = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.node_rank, self.node_size = node.rank, node.size
        masks = node.allgather(_allowed_cores())
        sharing = sum(mask == masks[node.rank] for mask in masks)
        self.cores = max(1, len(masks[node.rank]) // sharing)
        self.oversubscribed = node.size > len(frozenset().union(*masks))
        node.Free()
        self._next_tag = 0

    @property
    def library(self) -> str:
        """The MPI library, in a few words."""
        first_line = MPI.Get_library_version().split("\n")[0].split(",")[0].strip("\x00")
        return " ".join(first_line.replace("Version:", "").split())

    # ---- all-reduce of big buffers

    def plan_all_reduce(self, buffer: np.ndarray, algorithm: str = "auto") -> "Plan | NativePlan":
        """Return a request that sums ``buffer`` (n,) over the ranks in place, as often as it is started.

        Every rank calls this in the same order with the same length, dtype and algorithm.
        """
        algorithm = self.resolve(algorithm, buffer.nbytes)
        self._next_tag += 1
        if algorithm == "native":
            return NativePlan(self._comm, buffer, yield_cpu=self.oversubscribed)
        schedule = ALL_REDUCE[algorithm]
        return Plan(self._comm, schedule, buffer, tag=self._next_tag, yield_cpu=self.oversubscribed)

    def resolve(self, algorithm: str, num_bytes: int) -> str:
        """Return the algorithm that ``auto`` stands for at this length; other names are checked and returned."""
        if algorithm == "auto":
            if num_bytes >= self.size * (RING_CHUNK_OVERSUBSCRIBED if self.oversubscribed else RING_CHUNK):
                return "ring"
            return "tree" if self.oversubscribed else "native"
        if algorithm not in ALL_REDUCE_NAMES:
            raise UserError(f"there is no all-reduce {algorithm!r}; there are {', '.join(ALL_REDUCE_NAMES)}")
        return algorithm

    # ---- small things, by the MPI library

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Sum a small array over the ranks in place, and return it."""
        self._comm.Allreduce(MPI.IN_PLACE, array, MPI.SUM)
        return array

    def maximum(self, array: np.ndarray) -> np.ndarray:
        """Take the maximum of each element over the ranks in place, and return the array."""
        self._comm.Allreduce(MPI.IN_PLACE, array, MPI.MAX)
        return array

    def minimum(self, array: np.ndarray) -> np.ndarray:
        """Take the minimum of each element over the ranks in place, and return the array."""
        self._comm.Allreduce(MPI.IN_PLACE, array, MPI.MIN)
        return array

    def broadcast(self, array: np.ndarray, root: int = 0) -> None:
        """Copy ``array`` of ``root`` to all ranks, in pieces of at most 1 GiB."""
        flat = array.reshape(-1)
        longest = (1 << 30) // array.itemsize
        for i in range(0, flat.size, longest):
            self._comm.Bcast(flat[i : i + longest], root)

    def all_gather(self, item: Any) -> list[Any]:
        """Return the ``item`` of every rank, in order of rank (small Python objects)."""
        return self._comm.allgather(item)

    def barrier(self) -> None:
        """Return when all ranks are here."""
        self._comm.Barrier()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Run a block that may fail on any rank: if it does on one, all ranks raise the same AgreedError.

        The block holds no collective call; every rank enters it.
        """
        message = None
        try:
            yield
        except AgreedError:
            raise
        except UserError as error:
            message = str(error)
        messages = self.all_gather(message)
        failed = [(rank, text) for rank, text in enumerate(messages) if text is not None]
        if failed:
            rank, text = failed[0]
            raise AgreedError(text if rank == 0 else f"rank {rank}: {text}")

    def abort(self, code: int) -> None:
        """End all ranks at once."""
        sys.stdout.flush()
        sys.stderr.flush()
        MPI.COMM_WORLD.Abort(code)


def _allowed_cores() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))
