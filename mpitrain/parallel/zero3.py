"""ZeRO stage 3 by messages (fully sharded data parallel): a rank keeps its share of weights, gradients and slots.

    forward     gather unit 0 | compute, gather unit 1 | compute, gather unit 2 | ...
    backward    gather unit n | compute, gather unit n-1 | compute, reduce-scatter n, gather unit n-2 | ...
    update      this rank's chunks of the weights

Units are the layers of the model (``pieces``), gathered by ``GatheredValues`` when one of their parameters is read.
Gradients are those of stage 2, with a bucket for each piece. The first values are drawn one parameter at a time, of
which a rank keeps its chunk.

Bytes of a step: 3 (P - 1) / P n, or 2 (P - 1) / P n where the weights are kept from forward to backward, as Xu et al.
(2020, arXiv 2004.13336) do it. Memory of weights w, slots k w: w (2 + k) / P, and two units of weights and of
gradients; w more where the weights are kept.

Sources: Rajbhandari et al. 2020, arXiv 1910.02054 (stage 3); Zhao et al. 2023, "PyTorch FSDP", arXiv 2304.11277.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager

from ..arena import Arena
from ..comm.group import Group
from ..comm.schedule.plan import Request
from ..device.reserved import ReservedMemory
from ..optim import Optimizer
from .buckets import Bucket
from .gathered import GatheredValues
from .pieces import Piece
from .zero2 import Zero2

ROOM = 8  # weights are kept through a step if they take less than this part of the free memory


class Zero3(Zero2):
    """Synchronization by chunks, with weights and gradients in memory that is given back.

    Parameters
    ----------
    arena : Arena
        The same on all ranks, or ``divided`` by the same pieces; its values and gradients move.
    group : Group
    scatter, gather : str
        Algorithms: reduce_scatter/NAME and all_gather/NAME.
    pieces : sequence of Piece
        All of the arena.
    keep : bool
        Keep gathered weights from forward to the end of the step.

    Attributes
    ----------
    values : GatheredValues
    """

    def __init__(self, arena: Arena, group: Group, scatter: str, gather: str, pieces: Sequence[Piece], *, keep: bool):
        if arena.memory is None:
            arena.memory = ReservedMemory(arena.num_values, arena.dtype, len(pieces))
            arena.memory.array[...] = arena.values
            arena.move(arena.memory.array, arena.gradients)
        self.keep = keep
        trained = [piece for piece in pieces if piece.trained]
        starts = [0, *(piece.start for piece in trained[1:])]
        buckets = [Bucket(a, piece.stop, len(piece.parameters)) for a, piece in zip(starts, trained, strict=False)]
        super().__init__(arena, group, scatter, gather, buckets or [Bucket(0, arena.size, 0)])
        self.values = GatheredValues(arena, group, arena.memory, pieces, gather, keep)
        arena.divided = self.values.own
        self._plans = [*self._plans, *self.values.plans]

    @property
    def kept_bytes(self) -> dict[str, tuple[int, str]]:
        """The most bytes of weights and gradients that are in memory at once, with remarks."""
        values = self.values
        own = sum(part.stop - part.start for part in values.own)
        elements = min(self._arena.num_values, own + values.largest_two)
        remark = f"1/{self._group.size} of them and two units"
        if self.keep:
            elements, remark = self._arena.num_values, "all of them during a step"
        return super().kept_bytes | {"weights": (elements * self._arena.dtype.itemsize, remark)}

    def begin(self, passes: int = 1) -> None:
        """Begin a step of so many backward passes."""
        super().begin(passes)
        self.values.begin_step()

    def finish(self) -> None:
        """Wait for the sums of this rank's chunks and of the header; weights are this rank's chunks from here on."""
        super().finish()
        before = self.values.seconds
        self.values.end_step()
        self.values.seconds = before  # the caller knows how long this has taken

    def take_seconds(self) -> float:
        """Return the seconds of forward and backward since the last call that were spent on other ranks."""
        seconds, self.values.seconds = self.values.seconds, 0.0
        return seconds + super().take_seconds()

    def update(self, optimizer: Optimizer, lr: float, scale: float) -> None:
        """Update this rank's chunks of the weights."""
        optimizer.step(lr, scale, self._shard)

    def whole_weights(self, *, here: bool = True) -> AbstractContextManager[None]:
        """Have all weights in the arena in a ``with`` block, on ranks with ``here``; all ranks enter it together."""
        return self.values.whole(here=here)

    def free(self) -> None:
        """Free the MPI requests, after the weights have been made whole."""
        self.values.free()
        self._arena.divided = None
        self._arena.move(self._arena.values, self._arena.gradients)
        super().free()

    def _in_a_step(self) -> list[tuple[Request, int]]:
        gathers = 1 if self.keep else 2 * self.passes
        return [*super()._in_a_step(), *((plan, gathers) for plan in self.values.plans)]

    def describe(self) -> str:
        """Return a description in a few words."""
        kept = "kept until the step ends" if self.keep else "gathered for forward and for backward"
        return f"{super().describe()} of weights, gradients and slots; weights are {kept}"

    def _plan_gathers(self, group: Group, gather: str, spans: list[tuple[slice, str]]) -> list[Request]:
        return []


def has_room(arena: Arena, group: Group) -> bool:
    """Return whether every rank has memory to keep all weights through a step (collective)."""
    needed = arena.num_values * arena.dtype.itemsize * group.place.node_size
    return all(group.all_gather(needed * ROOM < arena.device.free_bytes))
