"""Execution of a step whose microbatches go to the ranks that are free (``--balance dynamic``)."""

from collections.abc import Sequence

from ...comm.node.tickets import Tickets
from ...data.loader import Batch
from .eager import EagerExecutor


class DynamicExecutor:
    """Executor in which each rank takes the next microbatch of the global batch as soon as it is free.

    Sums make it indifferent who computes which. A rank that gets none adds zeros. Nobody knows which microbatch is a
    rank's last, so gradients are summed at the end of the step, not during backward.

    Parameters
    ----------
    eager : EagerExecutor
    tickets : Tickets

    Attributes
    ----------
    taken : int
        Microbatches that this rank has computed.
    """

    def __init__(self, eager: EagerExecutor, tickets: Tickets):
        self._eager, self._tickets = eager, tickets
        self.taken = 0

    def num_passes(self, batches: Sequence[Batch]) -> int:
        """Return more than any rank does: gradients are complete at the end of the step."""
        return len(batches) + 1

    def run(self, batches: Sequence[Batch], step: int) -> None:
        """Compute the gradients of some of ``batches``, all microbatches of the step."""
        stream, before = self._eager.arena.device.compute, None
        for number in self._tickets.deal(len(batches)):
            self._eager.run([batches[number]], step)
            self.taken += 1
            if before is not None:  # a GPU is free when it has done its work, not when it was asked to; one waits ahead
                before.wait()
            before = stream.record()
