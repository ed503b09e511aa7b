"""Every rank gets the sum of all gradients and updates all weights: buckets, all-reduced while backward still runs."""

import numpy as np

from ..arena import Arena, Parameter
from ..comm.world import World
from ..optim import Optimizer, global_norm
from .buckets import Bucket, cut_buckets


class Replicated:
    """Sums ``arena.gradients`` over the ranks in place.

    Parameters
    ----------
    arena : Arena
    world : World
    all_reduce : str
        As in ``World.plan_all_reduce``.
    bucket_bytes : int

    Attributes
    ----------
    algorithms, reasons, buckets
        See ``DataParallel``.
    own : None
        All of the optimizer's slots are right on every rank.
    """

    sharded, own = False, None

    def __init__(self, arena: Arena, world: World, all_reduce: str, bucket_bytes: int):
        self._arena = arena
        self.buckets = cut_buckets(arena, bucket_bytes)
        slices = [arena.gradients[b.start : b.stop] for b in self.buckets]
        choices = [world.choose(s.nbytes) for s in slices] if all_reduce == "auto" else []
        self.reasons = list(dict.fromkeys(choice.reason for choice in choices))
        names = [choice.name for choice in choices] or [all_reduce] * len(slices)
        whats = [_what(arena, number, b) for number, b in enumerate(self.buckets)]
        self._plans = [
            world.plan_all_reduce(s, name, what=what) for s, name, what in zip(slices, names, whats, strict=True)
        ]
        self.algorithms = [plan.algorithm for plan in self._plans]
        self._bucket_of = [i for i, b in enumerate(self.buckets) for _ in range(b.num_parameters)]
        self._missing: list[int] = []
        self._started = self._done = len(self.buckets)

    @property
    def bytes_per_step(self) -> int:
        """Bytes that this rank sends in one step."""
        return sum(plan.bytes_sent for plan in self._plans)

    @property
    def messages_per_step(self) -> int:
        """Messages that this rank sends in one step (calls, where MPI does it)."""
        return sum(plan.messages for plan in self._plans)

    def begin(self) -> None:
        """No gradient is there."""
        self._missing = [b.num_parameters for b in self.buckets]
        self._started = self._done = 0

    def ready(self, p: Parameter) -> None:
        """The gradient of ``p`` is there: start what is complete, and move on what is on its way."""
        self._missing[self._bucket_of[p.index]] -= 1
        self._start_ready()
        if self._done < self._started and self._plans[self._done].poll():
            self._done += 1

    def finish(self) -> None:
        """Return when all sums are there."""
        self._start_ready()
        for plan in self._plans[self._done :]:
            plan.wait()
        self._done = len(self._plans)

    def norm(self) -> float:
        """Return the norm of the summed gradients."""
        return global_norm(self._arena)

    def update(self, optimizer: Optimizer, lr: float, scale: float) -> None:
        """Update all weights."""
        optimizer.step(lr, scale)

    def gather(self, array: np.ndarray) -> None:
        """All of ``array`` is right on every rank."""

    def free(self) -> None:
        """Give the requests back to MPI."""
        for plan in self._plans:
            plan.free()

    def describe(self) -> str:
        """Return it in a few words."""
        names, size = " and ".join(sorted(set(self.algorithms))), self._arena.gradients.nbytes / 1024
        return f"{names} all-reduce of {size:,.0f} KiB in {len(self.buckets)} bucket{'s' * (len(self.buckets) > 1)}"

    def _start_ready(self) -> None:
        # always in index order, so that no rank needs to tell another which bucket comes next
        while self._started < len(self.buckets) and self._missing[self._started] <= 0:
            if self._started == 0:
                self._arena.put_header()
            self._plans[self._started].start()
            self._started += 1


def _what(arena: Arena, number: int, bucket: Bucket) -> str:
    """Return which gradients a bucket holds, in the order in which backward makes them."""
    names = [p.name for p in arena.parameters if bucket.start <= p.start < bucket.stop]
    return f"bucket {number}: {' to '.join(dict.fromkeys([names[0], names[-1]]))}" if names else f"bucket {number}"
