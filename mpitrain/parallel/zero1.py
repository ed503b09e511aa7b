"""ZeRO stage 1 by messages, on any nodes: every rank updates its share of the weights only.

    backward | reduce-scatter of each bucket, as it is ready | update of this rank's chunks | all-gather of the weights

Chunk r of every bucket is rank r's: reduce-scatter leaves the sum of its gradients there, and all-gather spreads its
weights from there. Together they send what an all-reduce sends, and each rank keeps 1/P of the optimizer's slots and
does 1/P of the update.

Source: Rajbhandari et al. 2020, "ZeRO: memory optimizations toward training trillion parameter models" (stage 1).
"""

import math
from collections.abc import Sequence

import numpy as np

from ..arena import Arena
from ..collectives.step import chunk_bounds
from ..comm.group import Group
from ..comm.schedule.plan import Request
from ..optim import ArenaShard, Optimizer, sum_of_squares
from ..plain_text import binary_size
from ..step_header import StepHeader
from .buckets import Bucket, BucketQueue, name_bucket
from .gradient_sync import PlannedSync


class Zero1(PlannedSync):
    """Synchronization by a reduce-scatter and an all-gather of chunks of ``arena``.

    Parameters
    ----------
    arena : Arena
        The same on all ranks.
    group : Group
    scatter, gather : str
        Algorithms: reduce_scatter/NAME and all_gather/NAME.
    buckets : list of Bucket
    """

    own: tuple[slice, ...]

    def __init__(self, arena: Arena, group: Group, scatter: str, gather: str, buckets: list[Bucket]):
        self._arena, self.buckets = arena, buckets
        self.algorithms, self.reasons = [scatter, gather], list[str]()
        spans = [slice(max(b.start, StepHeader.SIZE), b.stop) for b in self.buckets]  # the header is summed apart
        names = [name_bucket(arena, number, b) for number, b in enumerate(self.buckets)]
        self._header = group.plan_all_reduce(arena.header, "native", what="sums of the step")
        scatters = self._plan_scatters(group, scatter, list(zip(spans, names, strict=True)))
        self._scatters = scatters
        self._gathers = self._plan_gathers(group, gather, list(zip(spans, names, strict=True)))
        self._chunks = [tuple(_chunk(span, group.size, rank) for span in spans) for rank in range(group.size)]
        self.own = self._chunks[group.rank]
        self._shard = ArenaShard(self.own, (arena.gradients,), group.sum)
        plans = [self._header, *scatters, *self._gathers]
        super().__init__(arena, group, plans, self._make_queue(scatters))

    def _plan_scatters(self, group: Group, scatter: str, spans: list[tuple[slice, str]]) -> list[Request]:
        """Return the plans that sum the gradients, of spans of the arena with their names."""
        return [group.plan_watched(scatter, self._arena.gradients[span], name) for span, name in spans]

    def _plan_gathers(self, group: Group, gather: str, spans: list[tuple[slice, str]]) -> list[Request]:
        """Return the plans that complete the weights after an update, of spans of the arena with their names."""
        return [group.plan_watched(gather, self._arena.values[span], name) for span, name in spans]

    def _make_queue(self, scatters: Sequence[Request]) -> BucketQueue:
        return BucketQueue(self.buckets, scatters)

    def finish(self) -> None:
        """Wait for the sums of this rank's chunks and of the header."""
        self._header.start()
        self._queue.finish()
        self._header.wait()

    def norm(self) -> float:
        """Return the norm of the summed gradients."""
        squares = math.fsum(sum_of_squares(self._arena.gradients[part]) for part in self.own)
        return math.sqrt(self._group.sum(np.array([squares]))[0])

    def update(self, optimizer: Optimizer, lr: float, scale: float) -> None:
        """Update this rank's chunks of the weights; return when those of all ranks have arrived."""
        optimizer.step(lr, scale, self._shard)
        for plan in self._gathers:
            plan.start()
        for plan in self._gathers:
            plan.wait()

    def gather(self, array: np.ndarray) -> None:
        """Complete ``array``, a slot of the optimizer, on every rank."""
        for rank, chunks in enumerate(self._chunks):
            for part in chunks:
                self._group.broadcast(array[part], rank)

    def describe(self) -> str:
        """Return a description in a few words."""
        size, buckets = binary_size(self._arena.gradients.nbytes), len(self.buckets)
        scattered = f"{' and '.join(self.algorithms)} of {size} in {buckets} bucket{'s' * (buckets > 1)}"
        return f"{scattered}, each rank updates 1/{self._group.size}"


def _chunk(span: slice, size: int, rank: int) -> slice:
    part = chunk_bounds(span.stop - span.start, size, rank)
    return slice(span.start + part.start, span.start + part.stop)
