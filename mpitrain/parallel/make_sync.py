"""Factory of gradient synchronizations, from options."""

from ..arena import Arena
from ..comm.group import Group
from ..errors import AgreedError
from ..run_rules import EVERY_STEP
from .all_reduce_sync import AllReduceSync
from .gradient_sync import GradientSync
from .local_sync import LocalSync
from .sync.base import SyncParts
from .sync.methods import SYNCS
from .zero1 import Zero1
from .zero1_shared import Zero1Shared

RING_CHUNK = 64 * 1024  # bytes from which messages cost more than their number
HALVES = {
    "ring": ("reduce_scatter/ring", "all_gather/ring"),
    "halving_doubling": ("reduce_scatter/recursive_halving", "all_gather/recursive_doubling"),
}


def make_gradient_sync(
    arena: Arena, group: Group, all_reduce: str, shard: str, bucket_bytes: int, sync: str = EVERY_STEP
) -> GradientSync:
    """Return the synchronization for ``arena``.

    Parameters
    ----------
    all_reduce : str
        As in ``Group.plan_all_reduce``.
    shard : "auto", "none" or "optimizer"
        ``auto`` shards the update where the ranks share the memory of one node.
    bucket_bytes : int
    sync : str
        EVERY_STEP, or a method in which the ranks meet less often (``sync.methods``).

    Raises
    ------
    AgreedError
        If there is no such all-reduce, or no way to do what the options ask for.
    """
    wanted = shard == "optimizer" or (shard == "auto" and all_reduce == "auto")
    if shard == "optimizer" and group.has_devices:
        raise AgreedError(
            "the optimizer is sharded in the memory of CPUs only: leave --shard out, or take --device cpu"
        )
    group.check_usable(all_reduce)  # the same on any number of ranks, also where there is nothing to sum
    if sync != EVERY_STEP:
        return _make_method(sync, SyncParts(arena, group, all_reduce, bucket_bytes))
    if group.size == 1:
        return LocalSync(arena)
    if not wanted or group.has_devices:
        return AllReduceSync(arena, group, all_reduce, bucket_bytes)
    commons = None
    if all_reduce in ("auto", "shared"):
        commons = group.share_arena(arena.size, arena.dtype, arena.num_values)
    if commons is not None:
        return Zero1Shared(arena, group, commons)
    if shard == "auto":
        return AllReduceSync(arena, group, all_reduce, bucket_bytes)
    bucket = min(bucket_bytes, arena.gradients.nbytes)
    return Zero1(arena, group, *_chunk_algorithms(all_reduce, bucket // group.size), bucket_bytes)


def _make_method(sync: str, parts: SyncParts) -> GradientSync:
    """Return a method of ``SYNCS``; a mistake in its name or options is found before any rank is left alone."""
    if parts.group.has_devices:
        raise AgreedError(f"--sync {sync} computes on CPUs only: take --device cpu")
    with parts.group.together():
        method = SYNCS.make(sync, parts)
    method.plan()
    return method


def _chunk_algorithms(all_reduce: str, chunk_bytes: int) -> tuple[str, str]:
    """Return the two halves of an all-reduce: a reduce-scatter and an all-gather of chunks."""
    if all_reduce in ("auto", "shared"):
        all_reduce = "ring" if chunk_bytes >= RING_CHUNK else "halving_doubling"
    if all_reduce not in HALVES:
        raise AgreedError(f"--shard optimizer sums in chunks: --all-reduce auto, {', '.join(HALVES)}, not {all_reduce}")
    return HALVES[all_reduce]
