"""Gradient synchronization: everything between backward and the next forward that involves other ranks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType

import numpy as np

from ..arena import Arena, Parameter
from ..comm.group import Group
from ..comm.schedule.plan import Request
from ..optim import Optimizer, QueuedNorm, global_norm
from .buckets import Bucket, BucketQueue


class GradientSync(ABC):
    """Protocol of gradient synchronization: sum gradients over the ranks and update the weights.

    ``DataParallel`` calls begin, ready, finish, norm and update in this order.

    Attributes
    ----------
    algorithms : list of str
        The collectives it uses.
    reasons : list of str
        Why ``auto`` took them; empty if it was not asked.
    buckets : list of Bucket
        The parts of the arena that are sent one by one.
    own : tuple of slice or None
        The parts of the weights that this rank updates, and of the optimizer's slots that are right on it;
        None where every rank updates all.
    watches_gradients : bool
        True if ``ready`` must be called for each gradient.
    slots : dict of str to (arena.size,) array
        State that checkpoints keep beside that of the optimizer; after ``settle`` equal on all ranks.
    step : int
        Steps before the one that is begun, on which random choices may depend.
    own_slots : bool
        True if the slots of the optimizer are other ones on each rank: checkpoints keep those of every rank.
    meets : bool
        True if the ranks meet in the step in progress: its header holds sums over them, and after it their weights
        are equal.
    each_pass : bool
        True if the gradients of every microbatch are summed by themselves.
    passes : int
        Microbatches of a step, for figures.
    own_step : bool
        True if the step in progress is this rank's own (``sync.base``): its gradients are not summed over the ranks
        before it ends. On the class, if there can be such steps.
    """

    algorithms: list[str]
    reasons: list[str]
    buckets: list[Bucket]
    own: tuple[slice, ...] | None = None
    watches_gradients: bool = True
    slots: Mapping[str, np.ndarray] = MappingProxyType({})
    step: int = 0
    own_slots: bool = False
    meets: bool = True
    each_pass: bool = False
    passes: int = 1
    own_step: bool = False

    @property
    def sharded(self) -> bool:
        """True if each rank updates its share of the weights only."""
        return self.own is not None

    @property
    def bytes_per_step(self) -> int:
        """Bytes that this rank sends in one step; 0 unless overridden."""
        return 0

    @property
    def messages_per_step(self) -> float:
        """Messages that this rank sends in one step (calls, where MPI does it); 0 unless overridden."""
        return 0

    @property
    def exchanges(self) -> list[tuple[str, int, int]]:
        """Algorithm, bytes and messages of each sum or copy that this rank takes part in, in one step.

        Empty where they are not planned one by one.
        """
        return []

    @property
    def kept_bytes(self) -> dict[str, tuple[int, str]]:
        """The most bytes of "weights" and "gradients" in memory at once, with remarks, if that is not all of them."""
        return {}

    @property
    def extra_bytes(self) -> int:
        """Memory that it needs beside weights, gradients and the optimizer's slots; that of ``slots`` by default."""
        return sum(slot.nbytes for slot in self.slots.values())

    def take_seconds(self) -> float:
        """Return the seconds of ``update`` and ``skip`` since the last call that were spent on other ranks."""
        return 0.0

    def prepare(self, step: int, meet: bool) -> None:  # noqa: B027
        """Begin ``step`` of the run, counted from 1; with ``meet`` the weights must be equal after it.

        Called where the ranks do not meet in every step.
        """

    def begin(self, passes: int = 1) -> None:  # noqa: B027
        """Begin a step of so many backward passes: gradients will be written."""

    def whole_weights(self, *, here: bool = True) -> AbstractContextManager[None]:
        """Have all weights in the arena in a ``with`` block, on ranks with ``here``; all ranks enter it together."""
        return nullcontext()

    def ready(self, p: Parameter) -> None:  # noqa: B027
        """Take note that the gradient of ``p`` is complete on this rank."""

    @abstractmethod
    def finish(self) -> None:
        """End backward; return when the arena's header holds its sum over all ranks."""

    @abstractmethod
    def norm(self) -> float:
        """Return the norm of the summed gradients."""

    def divisor(self, weight: float) -> float:
        """Return what the gradients are divided by in ``update``: ``weight``, that of the step."""
        return max(1.0, weight)

    @abstractmethod
    def update(self, optimizer: Optimizer, lr: float, scale: float) -> None:
        """Update the weights from the summed gradients times ``scale``; return when all of them are updated."""

    def skip(self) -> None:  # noqa: B027
        """End a step whose update is left out."""

    @abstractmethod
    def gather(self, array: np.ndarray) -> None:
        """Complete a slot of the optimizer on every rank."""

    def settle(self) -> None:  # noqa: B027
        """Make the slots equal on all ranks, before a checkpoint; all ranks call it together."""

    def free(self) -> None:  # noqa: B027
        """Free MPI resources."""

    @abstractmethod
    def describe(self) -> str:
        """Return a description in a few words."""


class WholeUpdateSync(GradientSync):
    """Synchronization after which every rank has the sums of all gradients, and updates all weights.

    On a device, ``finish`` queues the norm when all sums are there or queued.

    Parameters
    ----------
    arena : Arena
    """

    def __init__(self, arena: Arena):
        self._arena = arena
        self.queued_norm = None if arena.on_host else QueuedNorm(arena)

    def norm(self) -> float:
        """Return the norm of the summed gradients; that of a device came with the arena's header."""
        return global_norm(self._arena) if self.queued_norm is None else self.queued_norm.value()

    def update(self, optimizer: Optimizer, lr: float, scale: float) -> None:
        """Update all weights."""
        optimizer.step(lr, scale)

    def gather(self, array: np.ndarray) -> None:
        """Do nothing: ``array`` is complete on every rank."""


class PlannedSync(GradientSync):
    """Synchronization by plans that are made once and started in every step, one or more for each bucket.

    Parameters
    ----------
    plans : sequence of Request
        All plans.
    queue : BucketQueue
        Plans that are started during backward.
    """

    def __init__(self, arena: Arena, group: Group, plans: Sequence[Request], queue: BucketQueue):
        self._arena, self._group, self._plans, self._queue = arena, group, plans, queue

    @property
    def bytes_per_step(self) -> int:
        """Bytes that this rank sends in one step."""
        return sum(plan.bytes_sent for plan in self._plans)

    @property
    def messages_per_step(self) -> int:
        """Messages that this rank sends in one step (calls, where MPI does it)."""
        return sum(plan.messages for plan in self._plans)

    @property
    def exchanges(self) -> list[tuple[str, int, int]]:
        """Algorithm, bytes and messages of each plan on this rank, in one step."""
        return [(plan.algorithm, plan.bytes_sent, plan.messages) for plan in self._plans]

    def begin(self, passes: int = 1) -> None:
        """Begin a step, with all gradients missing."""
        self._queue.begin()

    def ready(self, p: Parameter) -> None:
        """Start the plan of the bucket that the gradient of ``p`` completes."""
        self._queue.ready(p)

    def free(self) -> None:
        """Free the MPI requests."""
        for plan in self._plans:
            plan.free()
