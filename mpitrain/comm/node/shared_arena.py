"""Shared arena of a node: one copy of the weights, the gradients of all ranks, and a barrier.

    weights      | slice 0 | slice 1 | slice 2 |      one copy; rank r writes slice r
    gradients 0  | slice 0 | slice 1 | slice 2 |      rank r reads slice r of all of them
    gradients 1  | slice 0 | slice 1 | slice 2 |
    gradients 2  | slice 0 | slice 1 | slice 2 |
    headers       | 0 | 1 | 2 |                        a few numbers of each rank

The barrier uses flags in the same window: each rank writes its own (its number of barriers so far) and reads the
others'. The windows are locked for all ranks for their whole lifetime, and MPI_Win_sync is called on both sides of a
barrier, so that every rank loads after it all that any rank has stored before it (MPI 4.1, 12.4 and 12.7).
"""

import os
from typing import Any

import numpy as np

from ..watch.watched import WatchedComm
from .window_all_reduce import FLAG_BYTES, SPINS, Window

HEADER_ELEMENTS = 16  # elements


class SharedArena:
    """The arenas of one model in the memory of a node.

    Parameters
    ----------
    comm : WatchedComm
        Ranks of one node; all of them make it together. Its ledger, if it has one, records every barrier.
    num_elements : int
        Of the gradients.
    dtype : dtype
    num_values : int, optional
        Elements of the weights, where some have no gradients; as many by default.
    yield_cpu : bool
        Yield the core from the first poll on, where ranks outnumber cores.

    Attributes
    ----------
    values : (num_values,) array
        The node's only copy of the weights.
    gradients : tuple of (n,) arrays
        Gradients of each rank, in order of rank.
    own : (n,) array
        This rank's gradients.
    headers : tuple of (HEADER_ELEMENTS,) arrays
        Header of each rank, for numbers other than gradients.
    """

    def __init__(
        self,
        comm: WatchedComm,
        num_elements: int,
        dtype: Any,
        *,
        num_values: int | None = None,
        yield_cpu: bool = False,
    ):
        dtype = np.dtype(dtype)
        value_bytes = (num_elements if num_values is None else num_values) * dtype.itemsize
        num_bytes, header_bytes = num_elements * dtype.itemsize, HEADER_ELEMENTS * dtype.itemsize
        flags_at = -(-num_bytes // FLAG_BYTES) * FLAG_BYTES
        self._mine = Window(comm, flags_at + FLAG_BYTES + header_bytes)
        self._only = Window(comm, value_bytes if comm.rank == 0 else 0)
        self.values = self._only.parts[0][:value_bytes].view(dtype)
        self.gradients = tuple(part[:num_bytes].view(dtype) for part in self._mine.parts)
        self.own = self.gradients[comm.rank]
        flags = [part[flags_at:][:8].view(np.int64) for part in self._mine.parts]
        self._flag, self._others = flags[comm.rank], [f for rank, f in enumerate(flags) if rank != comm.rank]
        self.headers = tuple(part[flags_at + FLAG_BYTES :][:header_bytes].view(dtype) for part in self._mine.parts)
        self._barriers = 0
        self._comm = comm
        self._spins = 0 if yield_cpu else SPINS

    def barrier(self, what: str) -> None:
        """Wait for all ranks of the node; ``what`` names the work before, for reports of late ranks."""
        ledger, history = self._comm.ledger, self._comm.history
        text = f"a barrier of the ranks of a node{self._comm.where} after {what}"
        at = ledger.begin(ledger.label(text, compared=text if history else "", history=history)) if ledger else 0
        self._arrive()
        spins = self._spins
        while not self._all_here():
            spins -= 1
            if spins < 0:
                os.sched_yield()
        if ledger:
            ledger.end(at)

    def free(self) -> None:
        """Free the memory (all ranks together; no array may use it any more)."""
        del self.values, self.gradients, self.own, self.headers, self._flag
        self._others.clear()
        self._mine.free()
        self._only.free()

    def _arrive(self) -> None:
        self._sync()
        self._barriers += 1
        self._flag[0] = self._barriers

    def _all_here(self) -> bool:
        if all(flag[0] >= self._barriers for flag in self._others):
            self._sync()
            return True
        return False

    def _sync(self) -> None:
        self._mine.sync()
        self._only.sync()
