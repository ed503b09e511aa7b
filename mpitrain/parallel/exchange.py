"""What happens between backward and the next forward: who sums which gradients, and who updates which weights."""

from typing import Protocol

import numpy as np

from ..arena import Arena, Parameter
from ..comm.world import World
from ..errors import AgreedError
from ..optim import Optimizer
from .buckets import Bucket
from .replicated import Replicated
from .sharded import Sharded
from .zero import Zero

RING_CHUNK = 64 * 1024  # bytes from which messages cost more than their number
HALVES = {
    "ring": ("reduce_scatter/ring", "all_gather/ring"),
    "halving_doubling": ("reduce_scatter/recursive_halving", "all_gather/recursive_doubling"),
}


class Exchange(Protocol):
    """One way to do it; ``DataParallel`` calls these in this order."""

    algorithms: list[str]
    reasons: list[str]
    buckets: list[Bucket]
    sharded: bool

    @property
    def own(self) -> tuple[slice, ...] | None:
        """The parts of the optimizer's slots that are right on this rank; None if all are."""

    @property
    def bytes_per_step(self) -> int:
        """Bytes that this rank sends in one step."""

    @property
    def messages_per_step(self) -> int:
        """Messages that this rank sends in one step."""

    def begin(self) -> None:
        """A step begins: gradients will be written."""

    def ready(self, p: Parameter) -> None:
        """The gradient of ``p`` is complete on this rank."""

    def finish(self) -> None:
        """Backward is done; return when the arena's header holds its sum over all ranks."""

    def norm(self) -> float:
        """Return the norm of the summed gradients."""

    def update(self, optimizer: Optimizer, lr: float, scale: float) -> None:
        """Return when all weights are updated."""

    def gather(self, array: np.ndarray) -> None:
        """Make all of a slot right on every rank."""

    def free(self) -> None:
        """Give back what belongs to MPI."""

    def describe(self) -> str:
        """Return it in a few words."""


def make_exchange(arena: Arena, world: World, all_reduce: str, shard: str, bucket_bytes: int) -> Exchange:
    """Return the exchange that the options ask for; ``auto`` shards where the ranks share the memory of one node."""
    wanted = shard == "optimizer" or (shard == "auto" and all_reduce == "auto")
    if shard == "optimizer" and world.has_devices:
        raise AgreedError(
            "the optimizer is sharded in the memory of CPUs only: leave --shard out, or take --device cpu"
        )
    if world.size == 1 or not wanted or world.has_devices:
        return Replicated(arena, world, all_reduce, bucket_bytes)
    commons = None
    if all_reduce in ("auto", "shared"):
        commons = world.share_arena(arena.size, arena.dtype)
    if commons is not None:
        return Sharded(arena, world, commons)
    if shard == "auto":
        return Replicated(arena, world, all_reduce, bucket_bytes)
    bucket = min(bucket_bytes, arena.gradients.nbytes)
    return Zero(arena, world, *_chunk_algorithms(all_reduce, bucket // world.size), bucket_bytes)


def _chunk_algorithms(all_reduce: str, chunk_bytes: int) -> tuple[str, str]:
    """Return the two halves of an all-reduce: the one that leaves each rank its chunk, and the one that spreads it."""
    if all_reduce in ("auto", "shared"):
        all_reduce = "ring" if chunk_bytes >= RING_CHUNK else "halving_doubling"
    if all_reduce not in HALVES:
        raise AgreedError(f"--shard optimizer sums in chunks: --all-reduce auto, {', '.join(HALVES)}, not {all_reduce}")
    return HALVES[all_reduce]
