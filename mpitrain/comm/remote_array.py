"""An array in parts on the ranks of a group, which each rank reads and adds to at any time (one-sided MPI)."""

# isort: off
from .group import Group  # first: it loads MPI without initializing it
# isort: on

import contextlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from mpi4py import MPI

from ..collectives.step import chunk_bounds


class RemoteArray:
    """An array (n,) of which rank r of a group holds chunk r, open to reads and additions of all ranks at any time.

    Additions to an element are whole, in any order. A read may see some of the additions that others make meanwhile.
    All ranks call ``__init__``, ``set`` and ``free`` together.

    Parameters
    ----------
    group : Group
    num_elements : int
    dtype : dtype

    Attributes
    ----------
    parts : list of slice
        The chunk of each rank.
    bytes_moved : int
        Bytes that this rank has added to chunks of other ranks, and read from them.
    """

    def __init__(self, group: Group, num_elements: int, dtype: Any = np.float32):
        self._group, self.dtype = group, np.dtype(dtype)
        self.parts = [chunk_bounds(num_elements, group.size, rank) for rank in range(group.size)]
        mine = self.parts[group.rank]
        itemsize = self.dtype.itemsize
        self._window = MPI.Win.Allocate(max(1, mine.stop - mine.start) * itemsize, itemsize, comm=group._comm)
        self._type = MPI._typedict[self.dtype.char]
        self._window.Lock_all()
        self.bytes_moved = 0

    def set(self, array: np.ndarray) -> None:
        """Set all elements; ``array`` (n,) is the same on all ranks."""
        self._group.barrier()  # nobody adds or reads any more
        mine = self._group.rank
        part = np.ascontiguousarray(array[self.parts[mine]])
        self._window.Accumulate([part, self._type], mine, op=MPI.REPLACE)
        self._window.Flush(mine)
        self._group.barrier()  # nor before

    def add(self, array: np.ndarray) -> None:
        """Add ``array`` (n,); return when all ranks can see it."""
        for rank in range(self._group.size):
            self.add_to(rank, array[self.parts[rank]])
        self._window.Flush_all()

    def add_to(self, rank: int, part: np.ndarray) -> None:
        """Add ``part``, contiguous, to the chunk of ``rank``; ``add`` or ``read`` completes it."""
        if part.size:
            self._window.Accumulate([part, self._type], rank, op=MPI.SUM)
            self.bytes_moved += part.nbytes * (rank != self._group.rank)

    def read(self, out: np.ndarray) -> np.ndarray:
        """Read all elements into ``out`` (n,), contiguous, and return it."""
        for rank, part in enumerate(self.parts):
            if part.stop > part.start:
                found = [out[part], self._type]
                self._window.Get_accumulate(found, found, rank, op=MPI.NO_OP)
                self.bytes_moved += out[part].nbytes * (rank != self._group.rank)
        self._window.Flush_all()
        return out

    def wait_until(self, done: Callable[[], bool], what: str) -> None:
        """Wait until ``done()``, as a wait that the ledger records under the name ``what``."""
        if done():
            return
        ledger = self._group.job.ledger
        with contextlib.nullcontext() if ledger is None else ledger.waiting(what):
            while not done():
                os.sched_yield()

    def free(self) -> None:
        """Free the memory."""
        self._window.Unlock_all()
        self._window.Free()
