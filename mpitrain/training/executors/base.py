"""The protocol of step executors."""

from collections.abc import Sequence
from typing import Protocol

from ...data.loader import Batch


class StepExecutor(Protocol):
    """Computes the gradients of a step, and adds the totals of its loss to the arena's header."""

    def num_passes(self, batches: Sequence[Batch]) -> int:
        """Return the number of writes that complete each gradient, the argument of ``DataParallel.begin``."""

    def run(self, batches: Sequence[Batch], step: int) -> None:
        """Do forward and backward of all microbatches of ``step``, counted from 0."""
