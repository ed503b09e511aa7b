"""One step stale: the sum of a step's gradients is sent while the next step is computed, and used after it.

    compute 1 | compute 2      | compute 3      | ...
              | sum of step 1  | sum of step 2  |
                               | update by 1    | update by 2

All ranks have the same weights in every step. At a meeting nothing stays under way: the sums of the last two steps make
one update.

Source: Lian et al. 2015, "Asynchronous parallel stochastic gradient for nonconvex optimization", arXiv 1506.08272; here
the delay is one step on all ranks.
"""

import math

import numpy as np

from ...arena import HEADER
from ...comm.schedule.plan import Request
from ...errors import UserError
from ...optim import ArenaShard, Optimizer, sum_of_squares
from ...parameter import Parameter
from .base import LocalSteps, SyncParts


class Stale(LocalSteps):
    """Updates by the gradients of the step before, whose sum is sent during the present one (Lian et al. 2015).

    The result is the same on any number of ranks, to rounding; on one rank there is the delay, too.

    Parameters
    ----------
    parts : SyncParts
    meet : int
        Steps from one meeting to the next, after which no sum is under way; requests to stop or save wait for it.
    """

    own_slots = False
    watches_gradients = True

    def __init__(self, parts: SyncParts, *, meet: int = 64):
        if meet < 1:
            raise UserError(f"the option meet of --sync stale must be 1 or more, but it is {meet}")
        super().__init__(parts)
        self.meet_every = meet
        self._sums = np.zeros_like(parts.arena.gradients)
        self._shard = ArenaShard((slice(HEADER, parts.arena.size),), (self._sums,))
        self._request: Request | None = None
        self._under_way = self._has_sums = False

    def plan(self) -> None:
        """Plan the messages between ranks."""
        super().plan()
        if self._group.size > 1:
            what = "gradients of the step before"
            self._request = self._group.plan_all_reduce(self._sums, self._parts.all_reduce, what=what)

    def is_due(self, step: int, since: int) -> bool:
        """Return whether ``meet`` steps are over."""
        return since >= self.meet_every

    def ready(self, p: Parameter) -> None:
        """Progress the sum of the step before."""
        if self._under_way and self._request is not None and self._request.poll():
            self._under_way = False

    def finish(self) -> None:
        """Wait for the sum of the step before; at a meeting add that of this one."""
        super().finish()
        if self._under_way and self._request is not None:
            self._request.wait()
        self._under_way = False
        if not self.meets:
            return
        if not self._has_sums:
            self._sums.fill(0)
        mine = self._mine()
        if self.exchange is not None:
            kept = self._arena.header.copy()
            np.copyto(self._arena.gradients, mine)
            self.sum_gradients(self.exchange)
            mine = self._arena.gradients.copy()
            self._arena.header[...] = kept
        self._sums += mine
        self._has_sums = True

    def _mine(self) -> np.ndarray:
        """Return this rank's gradients with the weight of its samples in front; zeros if they are not finite."""
        mine: np.ndarray = np.zeros_like(self._sums)
        if not self.problem:
            mine[HEADER:] = self._arena.gradients[HEADER:]
            mine[0] = self._own[0]
        return mine

    def norm(self) -> float:
        """Return the norm of the sums that the next update takes."""
        return math.sqrt(sum_of_squares(self._sums[HEADER:])) if self._has_sums else 0.0

    def divisor(self, weight: float) -> float:
        """Return the weight of the samples in the sums that the next update takes."""
        return max(1.0, float(self._sums[0])) if self._has_sums else 1.0

    def update(self, optimizer: Optimizer, lr: float, scale: float) -> None:
        """Update the weights by the sums of the step before, and start the sum of this one."""
        if self._has_sums:
            optimizer.step(lr, scale, self._shard)
        self._end_step()

    def between(self) -> None:
        """Start the sum of this step."""
        np.copyto(self._sums, self._mine())
        self._has_sums = True
        if self._request is not None:
            self._request.start()
            self._under_way = True

    def meet(self) -> None:
        """Begin anew without sums under way; the weights are equal anyway."""
        self._has_sums = False

    @property
    def bytes_per_step(self) -> int:
        """Bytes that this rank sends in one step."""
        return self.bytes_per_meeting

    @property
    def messages_per_step(self) -> float:
        """Messages that this rank sends in one step (calls, where MPI does it)."""
        return 0 if self._request is None else self._request.messages

    @property
    def bytes_sent(self) -> float:
        """Bytes that this rank has sent up to now."""
        return float(self.num_steps * self.bytes_per_meeting)

    def free(self) -> None:
        """Free the MPI requests."""
        super().free()
        if self._request is not None:
            self._request.free()

    def title(self) -> str:
        """Return the method in a few words."""
        return f"updates by the sums of the step before, none under way every {self.meet_every:,} steps"
