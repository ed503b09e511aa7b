"""Asynchronous parameter server: ranks add their updates to common weights whenever they have them, and wait for none.

    rank 0   step | add, read | step | add, read | ...
    rank 1   step      | add, read | step      | add, read | ...        no rank is more than S steps ahead of another

The common weights lie in chunks on all ranks, each a server of its chunk, by one-sided MPI: nobody answers a call. What
a rank reads has the updates that were there at that moment, so a run is not repeated to the bit.

Sources: Ho et al. 2013, "More effective distributed ML via a stale synchronous parallel parameter server"; Li et al.
2014, "Scaling distributed machine learning with the parameter server".
"""

import numpy as np

from ...comm.remote_array import RemoteArray
from ...errors import UserError
from ...optim import Optimizer
from .base import LocalSteps, SyncParts


class Server(LocalSteps):
    """Updates of each rank added to common weights at any time, with a bound on staleness (Ho et al. 2013).

    Each rank adds 1 / P of its update. At a meeting all updates are there, and all ranks take the same weights.

    Parameters
    ----------
    parts : SyncParts
    staleness : int
        S: a rank waits before it is more steps than that ahead of the last one.
    meet : int
        Steps from one meeting to the next; requests to stop or save wait for it.
    """

    def __init__(self, parts: SyncParts, *, staleness: int = 4, meet: int = 64):
        if staleness < 0:
            raise UserError(f"the staleness of --sync server must be 0 or more, but it is {staleness}")
        if meet < 1:
            raise UserError(f"the option meet of --sync server must be 1 or more, but it is {meet}")
        super().__init__(parts)
        self.staleness, self.meet_every = staleness, meet
        self._center: RemoteArray | None = None
        self._clocks: RemoteArray | None = None
        self._before = np.empty_like(self._values)
        self._seen = np.zeros(parts.group.size)

    def plan(self) -> None:
        """Make the common weights, and the steps that each rank has done."""
        super().plan()
        if self._group.size > 1:
            self._center = RemoteArray(self._group, self._values.size, self._arena.dtype)
            self._clocks = RemoteArray(self._group, self._group.size, np.float64)

    def is_due(self, step: int, since: int) -> bool:
        """Return whether ``meet`` steps are over."""
        return since >= self.meet_every

    def begin_period(self) -> None:
        """Begin with the weights that all ranks have in common, and no steps done."""
        if self._center is not None and self._clocks is not None:
            self._center.set(self._values)
            self._clocks.set(np.zeros(self._group.size))

    def update(self, optimizer: Optimizer, lr: float, scale: float) -> None:
        """Update this rank's weights, and add what that has changed to the common ones; then meet if it is due."""
        np.copyto(self._before, self._values)
        self._step_alone(optimizer, lr, scale)
        if self._center is not None:
            change = np.subtract(self._values, self._before, out=self._before)
            change /= self._group.size
            self._center.add(change)
        self._end_step()

    def between(self) -> None:
        """Wait while this rank is too far ahead, and take the common weights."""
        if self._center is None or self._clocks is None:
            return
        self._clocks.add_to(self._group.rank, np.ones(1))
        what = f"ranks that are more than {self.staleness} steps behind step {self._step}"
        self._clocks.wait_until(self._is_near, what)
        self._center.read(self._values)

    def _is_near(self) -> bool:
        assert self._clocks is not None
        return self._since - int(self._clocks.read(self._seen).min()) <= self.staleness

    def meet(self) -> None:
        """Take the common weights when all updates are there."""
        if self._center is not None:
            self._group.barrier()
            self._center.read(self._values)
        self.average_states()

    @property
    def bytes_per_step(self) -> int:
        """Bytes of a step that this rank adds to other ranks' chunks, and reads from them."""
        if self._center is None:
            return 0
        own = self._center.parts[self._group.rank]
        return 2 * int(self._values.nbytes - self._values[own].nbytes)

    @property
    def messages_per_step(self) -> float:
        """Messages that this rank sends in one step, to add to all chunks, and its requests to read them."""
        return 2.0 * (self._group.size - 1)

    @property
    def bytes_sent(self) -> float:
        """Bytes that this rank has added to other ranks' chunks, and read from them, up to now."""
        return 0.0 if self._center is None else float(self._center.bytes_moved)

    def free(self) -> None:
        """Free the memory of the common weights."""
        super().free()
        for array in (self._center, self._clocks):
            if array is not None:
                array.free()

    def describe(self) -> str:
        """Return a description in a few words: no collective sums anything."""
        return self.title()

    def title(self) -> str:
        """Return the method in a few words."""
        return f"updates added to common weights at any time, at most {self.staleness} steps apart"
