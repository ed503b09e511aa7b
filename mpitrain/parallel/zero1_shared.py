"""ZeRO stage 1 in the memory of one node: every rank updates its share of the weights only, without messages.

A rank sums its slice of all ranks' gradients straight from where backward has put them, and updates its slice of the
node's only copy of the weights in the same pass, while the sum is in its cache. It keeps the optimizer's slots of
that slice only. Two barriers per step, no messages, whatever the number of ranks and parameters:

    backward | meet: all gradients are there, no rank reads weights | update | meet: all is updated | forward

Cost, n bytes of parameters: a rank reads n of gradients and reads and writes 1/P of weights and slots; an all-reduce
and a whole update read n, write n, and then read and write all weights and slots on every rank.

Source: Rajbhandari et al. 2020, "ZeRO: memory optimizations toward training trillion parameter models" (stage 1).
"""

import math
from collections.abc import Iterator

import numpy as np

from ..arena import Arena
from ..comm.group import Group
from ..comm.node.shared_arena import SharedArena
from ..device import ALIGNMENT
from ..ops.reduce import Sources, sum_sources
from ..optim import BLOCK, ArenaShard, Optimizer
from ..plain_text import binary_size
from ..step_header import StepHeader
from .buckets import Bucket
from .gradient_sync import GradientSync


class Zero1Shared(GradientSync):
    """Synchronization in the node's shared memory, to which it moves the arena.

    Parameters
    ----------
    arena : Arena
        Equal on all ranks.
    group : Group
        All its ranks on one node.
    commons : SharedArena
        Shared memory for the same number of elements.
    """

    watches_gradients = False  # a rank sums when its own backward is done
    own: tuple[slice]

    def __init__(self, arena: Arena, group: Group, commons: SharedArena):
        self._arena, self._group, self._commons = arena, group, commons
        if group.rank == 0:
            commons.values[...] = arena.values
        commons.barrier("moving the weights")
        arena.move(commons.values, commons.own)
        self.algorithms, self.reasons = ["shared"], list[str]()
        self.buckets = [Bucket(0, arena.size, len(arena.parameters))]
        self._slices = [cut_slice(arena, group.size, rank) for rank in range(group.size)]
        self.own = (self._slices[group.rank],)
        self._unsummed = ArenaShard(self.own, commons.gradients, group.sum)
        self._summed = ArenaShard(self.own, (commons.own,), group.sum)
        self._shard = self._unsummed
        self._sums = list(self._cut_sums())
        self._open = False

    def begin(self, passes: int = 1) -> None:
        """Wait until no rank reads memory that other ranks write in this step."""
        self._close()
        self._shard = self._unsummed

    def finish(self) -> None:
        """Return when all gradients can be read; the arena's header holds its sum over the ranks."""
        self._commons.headers[self._group.rank][...] = self._arena.header
        self._commons.barrier("backward")
        self._open = True
        np.sum(self._commons.headers, axis=0, out=self._arena.header)

    def norm(self) -> float:
        """Return the norm of the summed gradients; from here on this rank's slice of them is in its own arena."""
        squares = math.fsum(sum_sources(*block) for block in self._sums)
        self._shard = self._summed
        return math.sqrt(self._group.sum(np.array([squares]))[0])

    def update(self, optimizer: Optimizer, lr: float, scale: float) -> None:
        """Update this rank's slice of the weights; return when all slices are."""
        optimizer.step(lr, scale, self._shard)
        self._close()

    def gather(self, array: np.ndarray) -> None:
        """Complete ``array``, a slot of the optimizer, on every rank."""
        for rank, part in enumerate(self._slices):
            self._group.broadcast(array[part], rank)

    def free(self) -> None:
        """Move the arena back to private memory of this rank."""
        self._close()
        self._arena.move(self._commons.values.copy(), np.zeros_like(self._commons.own))
        self._commons.free()

    def describe(self) -> str:
        """Return a description in a few words."""
        size = binary_size(self._arena.gradients.nbytes)
        return f"each rank sums and updates 1/{self._group.size} of {size}, in shared memory"

    def _cut_sums(self) -> Iterator[tuple[np.ndarray, Sources]]:
        """Yield the arguments of ``sum_sources`` for each block of this rank's slice."""
        (part,) = self.own
        for start in range(part.start, part.stop, BLOCK):
            block = slice(start, min(start + BLOCK, part.stop))
            yield self._commons.own[block], Sources([source[block] for source in self._commons.gradients])

    def _close(self) -> None:
        if self._open:
            self._commons.barrier("the update")
        self._open = False


def cut_slice(arena: Arena, size: int, rank: int) -> slice:
    """Return the part of the arena that ``rank`` updates: whole cache lines, equally many on all ranks up to one."""
    line = ALIGNMENT // arena.dtype.itemsize
    lines = (arena.size - StepHeader.SIZE) // line
    return slice(StepHeader.SIZE + line * (lines * rank // size), StepHeader.SIZE + line * (lines * (rank + 1) // size))
