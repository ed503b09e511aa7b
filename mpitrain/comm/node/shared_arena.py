"""What the ranks of a node hold in common: one copy of the weights, everybody's gradients, and a meeting point.

    weights      | slice 0 | slice 1 | slice 2 |      one copy; rank r writes slice r
    gradients 0  | slice 0 | slice 1 | slice 2 |      rank r reads slice r of all of them
    gradients 1  | slice 0 | slice 1 | slice 2 |
    gradients 2  | slice 0 | slice 1 | slice 2 |
    headers       | 0 | 1 | 2 |                        a few numbers of each rank

A meeting is a barrier of flags in the same window: each rank writes its own (how many meetings it has come to) and
reads the others'. The windows are locked for all ranks for their whole lives, and MPI_Win_sync stands on both sides of
a meeting: what any rank has stored before it, every rank loads after it (MPI 4.1, 12.4 and 12.7).
"""

import os
from typing import Any

import numpy as np

from ..watch.ledger import Ledger
from .window_all_reduce import FLAG_BYTES, SPINS, Window

HEADER_ELEMENTS = 16  # elements


class SharedArena:
    """The arenas of one model in the memory of a node.

    Parameters
    ----------
    comm : MPI.Comm
        Ranks of one node; all of them make it together.
    num_elements : int
    dtype : dtype
    ledger : Ledger or None
        Record of every meeting, for the watchdog.
    yield_cpu : bool
        Offer the core to others from the first poll on: right when ranks outnumber cores.

    Attributes
    ----------
    values : (n,) array
        The node's only copy.
    gradients : tuple of (n,) arrays
        Of each rank, by its place on the node.
    own : (n,) array
        This rank's.
    headers : tuple of (HEADER_ELEMENTS,) arrays
        Of each rank, for what is no gradient.
    """

    def __init__(self, comm: Any, num_elements: int, dtype: Any, ledger: Ledger | None, *, yield_cpu: bool = False):
        dtype = np.dtype(dtype)
        num_bytes, header_bytes = num_elements * dtype.itemsize, HEADER_ELEMENTS * dtype.itemsize
        flags_at = -(-num_bytes // FLAG_BYTES) * FLAG_BYTES
        self._mine = Window(comm, flags_at + FLAG_BYTES + header_bytes)
        self._only = Window(comm, num_bytes if comm.rank == 0 else 0)
        self.values = self._only.parts[0][:num_bytes].view(dtype)
        self.gradients = tuple(part[:num_bytes].view(dtype) for part in self._mine.parts)
        self.own = self.gradients[comm.rank]
        flags = [part[flags_at:][:8].view(np.int64) for part in self._mine.parts]
        self._flag, self._others = flags[comm.rank], [f for rank, f in enumerate(flags) if rank != comm.rank]
        self.headers = tuple(part[flags_at + FLAG_BYTES :][:header_bytes].view(dtype) for part in self._mine.parts)
        self._barriers = 0
        self._ledger = ledger
        self._spins = 0 if yield_cpu else SPINS

    def barrier(self, what: str) -> None:
        """Return when all ranks of the node are here; ``what`` they have done before, for who waits too long."""
        text = f"a meeting of the ranks of a node after {what}"
        at = self._ledger.begin(self._ledger.label(text, compared=text)) if self._ledger else 0
        self._arrive()
        spins = self._spins
        while not self._all_here():
            spins -= 1
            if spins < 0:
                os.sched_yield()
        if self._ledger:
            self._ledger.end(at)

    def free(self) -> None:
        """Give the memory back (all ranks together; no array may use it any more)."""
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
