"""Data parallelism: every rank has the whole model and a part of each batch; gradients are summed over the ranks.

Each rank's gradient is a sum over its own samples, not a mean, so ranks with more samples weigh more and a rank
without any adds zeros: the sum over ranks, divided once by the total weight, is the gradient of the global batch
whatever the shares are.
"""

import itertools
import time
import zlib

import numpy as np

from ..arena import HEADER, Arena, Parameter
from ..comm.world import World
from ..errors import AgreedError
from ..layers import BatchNorm2d, Layer
from .buckets import Bucket, cut_buckets

SIGNATURE = slice(HEADER - 4, HEADER)  # places in the arena's header: 1, and three bytes of the fingerprint


class DataParallel:
    """Keeps the ranks' copies of one model equal and sums their gradients while backward still runs.

    Parameters
    ----------
    model : Layer
    arena : Arena
        Of ``model``; rank 0's values and states are given to all ranks, and the copies compared.
    world : World
    all_reduce : str
        As in ``World.plan_all_reduce``: a name, or FILE.py:FUNC.
    bucket_bytes : int
    synchronise_batch_norm : bool
        Take batch statistics over all ranks.

    Attributes
    ----------
    algorithms : list of str
        The all-reduce of each bucket.
    reasons : list of str
        Why ``auto`` took them; empty if it was not asked.
    sync_seconds : float
        Time spent in ``finish`` since the caller last set it to 0: waiting for other ranks and for messages
        that backward did not hide.
    """

    def __init__(
        self,
        model: Layer,
        arena: Arena,
        world: World,
        *,
        all_reduce: str = "auto",
        bucket_bytes: int = 25 << 20,
        synchronise_batch_norm: bool = True,
    ):
        self.arena = arena
        self.world = world
        self.sync_seconds = 0.0
        self._signature = np.zeros(4, arena.dtype)
        self._compare_models()
        world.broadcast(arena.values)
        world.broadcast(arena.states)
        self.verify("at the start")
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
        self._local_statistics = not synchronise_batch_norm
        arena.on_ready = self._ready
        for layer in model.layers():
            if isinstance(layer, BatchNorm2d):
                layer.sum_over_ranks = world.sum if synchronise_batch_norm and world.size > 1 else None

    @property
    def bytes_per_step(self) -> int:
        """Bytes that this rank sends for the gradients of one step."""
        return sum(plan.bytes_sent for plan in self._plans)

    @property
    def messages_per_step(self) -> int:
        """Messages that this rank sends for the gradients of one step (calls, where MPI does it)."""
        return sum(plan.messages for plan in self._plans)

    def begin(self, microbatches: int = 1) -> None:
        """Begin a step of as many backward passes; sums for the arena's header must be in before the last one."""
        self._missing = [b.num_parameters for b in self.buckets]
        self._started = self._done = 0
        self.arena.begin_step(microbatches)
        if self.world.size > 1:
            self._sign()

    def finish(self) -> None:
        """Return when ``arena.gradients`` holds the sums over all ranks (the header too)."""
        self.arena.end_backward()
        self._start_ready()
        begin = time.perf_counter()
        for plan in self._plans[self._done :]:
            plan.wait()
        self._done = len(self._plans)
        self.sync_seconds += time.perf_counter() - begin
        if self.world.size > 1:
            self._compare_signatures()

    def _compare_models(self) -> None:
        """Raise an AgreedError if the ranks have built different models, before their buffers meet."""
        mine = [(p.name, p.shape) for p in self.arena.parameters]
        models = self.world.all_gather(zlib.crc32(repr(mine).encode()))
        if len(set(models)) == 1:
            return
        layouts = self.world.all_gather(mine)
        rank = next(r for r, model in enumerate(models) if model != models[0])
        theirs, ours = next((a, b) for a, b in itertools.zip_longest(layouts[rank], layouts[0]) if a != b)
        raise AgreedError(
            f"rank {rank} has built another model than rank 0: its {theirs or 'list of parameters ends'} stands where "
            f"rank 0 has {ours or 'none'}; give all ranks the same options, files and version of the program",
            code=1,
        )

    def _sign(self) -> None:
        """Put this rank's fingerprint of all collectives so far into the header, in numbers whose sums are exact."""
        fingerprint = self.world.ledger.fingerprint
        self._signature[:] = 1, fingerprint & 255, fingerprint >> 8 & 255, fingerprint >> 16 & 255
        self.arena.header[SIGNATURE] = self._signature

    def _compare_signatures(self) -> None:
        """Raise an AgreedError if the ranks have not called the same collectives: before anything comes of it."""
        sums = self.arena.header[SIGNATURE].copy()
        self.arena.header[SIGNATURE] = 0
        if not np.array_equal(sums, sums[0] * self._signature):
            self.world.check_history()

    def average_states(self) -> None:
        """Make running statistics equal on all ranks, where each rank has kept its own."""
        if self._local_statistics and self.arena.states.size:
            self.world.sum(self.arena.states)
            self.arena.states /= self.world.size

    def verify(self, when: str) -> None:
        """Compare a hash of the weights over all ranks.

        Raises
        ------
        AgreedError
            Names the first rank and parameter that differ from most ranks.
        """
        hashes = self.world.all_gather(_hash(self.arena.values))
        if len(set(hashes)) == 1:
            return
        usual = max(hashes, key=hashes.count)
        rank = next(r for r, h in enumerate(hashes) if h != usual)
        model_rank = hashes.index(usual)
        mine = [_hash(p.data) for p in self.arena.parameters]
        all_hashes = self.world.all_gather(mine)
        pairs = zip(self.arena.parameters, all_hashes[rank], all_hashes[model_rank], strict=True)
        name = next((p.name for p, a, b in pairs if a != b), "the padding between parameters")
        raise AgreedError(f"the weights of rank {rank} differ from those of rank {model_rank} {when}: {name}", code=1)

    def free(self) -> None:
        """Give the requests back to MPI."""
        for plan in self._plans:
            plan.free()
        self.arena.on_ready = None

    def _ready(self, p: Parameter) -> None:
        self._missing[self._bucket_of[p.index]] -= 1
        self._start_ready()
        if self._done < self._started and self._plans[self._done].poll():
            self._done += 1

    def _start_ready(self) -> None:
        # always in index order, so that no rank needs to tell another which bucket comes next
        while self._started < len(self.buckets) and self._missing[self._started] <= 0:
            self._plans[self._started].start()
            self._started += 1


def _what(arena: Arena, number: int, bucket: Bucket) -> str:
    """Return which gradients a bucket holds, in the order in which backward makes them."""
    names = [p.name for p in arena.parameters if bucket.start <= p.start < bucket.stop]
    return f"bucket {number}: {' to '.join(dict.fromkeys([names[0], names[-1]]))}" if names else f"bucket {number}"


def _hash(array: np.ndarray) -> int:
    return zlib.crc32(array.data)
