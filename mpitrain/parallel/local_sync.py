"""Gradient synchronization on a single rank: no sums are needed."""

from ..arena import Arena
from .buckets import Bucket
from .gradient_sync import WholeUpdateSync


class LocalSync(WholeUpdateSync):
    """Synchronization that updates all weights from the gradients of this rank.

    Parameters
    ----------
    arena : Arena
    """

    watches_gradients = False

    def __init__(self, arena: Arena):
        super().__init__(arena)
        self.algorithms, self.reasons = ["none"], list[str]()
        self.buckets = [Bucket(0, arena.size, len(arena.parameters))]

    def finish(self) -> None:
        """Combine the host's and the device's parts of the header, which is that of all ranks."""
        if self.queued_norm is not None:  # the gradients are on a device
            self._arena.put_header()
            self.queued_norm.queue()

    def describe(self) -> str:
        """Return a description in a few words."""
        return "one rank, nothing to sum"
