"""Gradient synchronization on a single rank: no sums are needed."""

import numpy as np

from ..arena import Arena, Parameter
from ..optim import Optimizer, QueuedNorm, global_norm
from .buckets import Bucket
from .gradient_sync import GradientSync


class LocalSync(GradientSync):
    """Synchronization that updates all weights from the gradients of this rank.

    Parameters
    ----------
    arena : Arena
    """

    watches_gradients = False

    def __init__(self, arena: Arena):
        self._arena = arena
        self.algorithms, self.reasons = ["none"], list[str]()
        self.buckets = [Bucket(0, arena.size, len(arena.parameters))]
        self._queued_norm = None if arena.on_host else QueuedNorm(arena)

    @property
    def bytes_per_step(self) -> int:
        """Return 0: nothing is sent."""
        return 0

    @property
    def messages_per_step(self) -> int:
        """Return 0: nothing is sent."""
        return 0

    def begin(self) -> None:
        """Do nothing."""

    def ready(self, p: Parameter) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Combine the host's and the device's parts of the header, which is that of all ranks."""
        if self._queued_norm is not None:  # the gradients are on a device
            self._arena.put_header()
            self._queued_norm.queue()

    def norm(self) -> float:
        """Return the norm of the gradients; that of a device comes with the arena's header."""
        return global_norm(self._arena) if self._queued_norm is None else self._queued_norm.value()

    def update(self, optimizer: Optimizer, lr: float, scale: float) -> None:
        """Update all weights."""
        optimizer.step(lr, scale)

    def gather(self, array: np.ndarray) -> None:
        """Do nothing: ``array`` is complete."""

    def free(self) -> None:
        """Do nothing."""

    def describe(self) -> str:
        """Return a description in a few words."""
        return "one rank, nothing to sum"
