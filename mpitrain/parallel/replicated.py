"""Every rank gets the sum of all gradients and updates all weights: buckets, all-reduced while backward still runs."""

import numpy as np

from ..arena import Arena, Parameter
from ..comm.world import World
from ..optim import Optimizer, QueuedNorm, global_norm
from ..plain_text import binary_size
from .buckets import InOrder, cut_buckets, name_bucket


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
        whats = [name_bucket(arena, number, b) for number, b in enumerate(self.buckets)]
        self._plans = [
            world.plan_all_reduce(s, name, what=what) for s, name, what in zip(slices, names, whats, strict=True)
        ]
        self.algorithms = [plan.algorithm for plan in self._plans]
        self._queued_norm = None if arena.on_host else QueuedNorm(arena)
        self._in_order = InOrder(self.buckets, self._plans, arena.put_header)

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
        self._in_order.begin()

    def ready(self, p: Parameter) -> None:
        """The gradient of ``p`` is there."""
        self._in_order.ready(p)

    def finish(self) -> None:
        """Return when all sums are there."""
        self._in_order.finish()
        if self._queued_norm is not None:
            self._queued_norm.queue()

    def norm(self) -> float:
        """Return the norm of the summed gradients; that of a device came with the arena's header."""
        return global_norm(self._arena) if self._queued_norm is None else self._queued_norm.value()

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
        names, size = " and ".join(sorted(set(self.algorithms))), binary_size(self._arena.gradients.nbytes)
        return f"{names} all-reduce of {size} in {len(self.buckets)} bucket{'s' * (len(self.buckets) > 1)}"
