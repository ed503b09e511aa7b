"""Factory of gradient synchronizations, from options."""

from ..arena import Arena
from ..comm.group import Group
from ..errors import AgreedError, UserError
from ..layers import Layer
from ..run_rules import EVERY_STEP
from .all_reduce_sync import AllReduceSync
from .buckets import cut_buckets
from .compress.auto import choose_codec
from .compress.codec import Codec
from .compress.compressed_sync import CompressedSync, LocalCompressedSync
from .compress.registry import AUTO, NONE, check_carries, make_codec
from .gradient_hook import Exchange, GradientHookSync, make_gradient_hook
from .gradient_sync import GradientSync
from .local_sync import LocalSync
from .sync.base import SyncParts
from .sync.methods import SYNCS
from .zero1 import Zero1
from .zero1_shared import Zero1Shared

SHARDS = ("optimizer", "gradients", "weights")

RING_CHUNK = 64 * 1024  # bytes from which messages cost more than their number
HALVES = {
    "ring": ("reduce_scatter/ring", "all_gather/ring"),
    "halving_doubling": ("reduce_scatter/recursive_halving", "all_gather/recursive_doubling"),
}


def make_gradient_sync(
    arena: Arena,
    group: Group,
    all_reduce: str,
    shard: str,
    bucket_bytes: int,
    *,
    model: Layer | None = None,
    gather_weights: str = "auto",
    sync: str = EVERY_STEP,
    compress: str = NONE,
    gradient_hook: str = "",
    same: Group | None = None,
) -> GradientSync:
    """Return the synchronization for ``arena``.

    Parameters
    ----------
    all_reduce : str
        As in ``Group.plan_all_reduce``.
    shard : "auto", "none", "optimizer", "gradients" or "weights"
        ``auto`` shards the update where the ranks share the memory of one node.
    bucket_bytes : int
    model : Layer, optional
        The layers of the arena, for "weights".
    gather_weights : "auto", "once" or "twice"
        For "weights", see ``zero3``.
    sync : str
        EVERY_STEP, or a method in which the ranks meet less often (``sync.methods``).
    compress : str
        Codec of the gradients, as in ``compress.registry``.
    gradient_hook : str
        FILE.py:FUNC of a function that sums them, as in ``gradient_hook``; empty for none.
    same : Group, optional
        The ranks of ``group`` with the same experts, where there are others: as ``AllReduceSync``.

    Raises
    ------
    AgreedError
        If there is no such all-reduce, or no way to do what the options ask for.
    """
    if compress == AUTO:
        return _automatic(arena, group, all_reduce, shard, bucket_bytes, gradient_hook)  # which refuses SHARDS
    codec = _checked_codec(arena, group, all_reduce, shard, compress)
    exchange = _checked_hook(group, all_reduce, shard, compress, gradient_hook)
    wanted = shard in SHARDS or (shard == "auto" and all_reduce == "auto" and not arena.by_rows)
    if shard in SHARDS and group.has_devices:
        raise AgreedError(f"--shard {shard} works in the memory of CPUs only: leave it out, or take --device cpu")
    group.check_usable(all_reduce)  # the same on any number of ranks, also where there is nothing to sum
    if sync != EVERY_STEP:
        return _make_method(sync, SyncParts(arena, group, all_reduce, bucket_bytes))
    if exchange is not None and group.size > 1:
        return GradientHookSync(arena, group, exchange, gradient_hook, bucket_bytes)
    if codec is not None and group.size == 1:
        return LocalCompressedSync(arena, codec)
    if codec is not None:
        return CompressedSync(arena, group, codec, compress, all_reduce, bucket_bytes)
    if group.size == 1:
        return LocalSync(arena)
    if same is not None and same.size < group.size:
        if shard == "optimizer":
            raise AgreedError("--shard optimizer does not go with axis expert yet: its ranks have different parameters")
        return AllReduceSync(arena, group, all_reduce, bucket_bytes, same)
    if not wanted or group.has_devices:
        return AllReduceSync(arena, group, all_reduce, bucket_bytes)
    if shard in ("gradients", "weights"):
        return _make_divided(arena, group, all_reduce, shard, bucket_bytes, model, gather_weights)
    commons = None
    if all_reduce in ("auto", "shared"):
        commons = group.share_arena(arena.size, arena.dtype, arena.num_values)
    if commons is not None:
        return Zero1Shared(arena, group, commons)
    if shard == "auto":
        return AllReduceSync(arena, group, all_reduce, bucket_bytes)
    return Zero1(arena, group, *_algorithms(arena, group, all_reduce, bucket_bytes), cut_buckets(arena, bucket_bytes))


def _make_divided(
    arena: Arena,
    group: Group,
    all_reduce: str,
    shard: str,
    bucket_bytes: int,
    model: Layer | None,
    gather_weights: str,
) -> GradientSync:
    """Return ZeRO stage 2 or 3."""
    from .pieces import UNIT_BYTES, cut_pieces
    from .zero2 import Zero2
    from .zero3 import Zero3, has_room

    algorithms = _algorithms(arena, group, all_reduce, bucket_bytes, shard)
    if shard == "gradients":
        return Zero2(arena, group, *algorithms, cut_buckets(arena, bucket_bytes))
    if model is None:
        raise ValueError("weights are divided by the layers of a model, which is missing")
    pieces = cut_pieces(model, arena, min(bucket_bytes, UNIT_BYTES))
    keep = gather_weights == "once" or (gather_weights == "auto" and has_room(arena, group))
    return Zero3(arena, group, *algorithms, pieces, keep=keep)


def _algorithms(
    arena: Arena, group: Group, all_reduce: str, bucket_bytes: int, shard: str = "optimizer"
) -> tuple[str, str]:
    return _chunk_algorithms(all_reduce, min(bucket_bytes, arena.size * arena.dtype.itemsize) // group.size, shard)


def _make_method(sync: str, parts: SyncParts) -> GradientSync:
    """Return a method of ``SYNCS``; a mistake in its name or options is found before any rank is left alone."""
    if parts.group.has_devices:
        raise AgreedError(f"--sync {sync} computes on CPUs only: take --device cpu")
    with parts.group.together():
        method = SYNCS.make(sync, parts)
    method.plan()
    return method


def _chunk_algorithms(all_reduce: str, chunk_bytes: int, shard: str) -> tuple[str, str]:
    """Return the two halves of an all-reduce: a reduce-scatter and an all-gather of chunks."""
    if all_reduce in ("auto", "shared"):
        all_reduce = "ring" if chunk_bytes >= RING_CHUNK else "halving_doubling"
    if all_reduce not in HALVES:
        raise AgreedError(f"--shard {shard} sums in chunks: --all-reduce auto, {', '.join(HALVES)}, not {all_reduce}")
    return HALVES[all_reduce]


def _automatic(
    arena: Arena, group: Group, all_reduce: str, shard: str, bucket_bytes: int, gradient_hook: str
) -> GradientSync:
    """Return the synchronization with the codec that pays, and the reason for it."""
    named = [("--all-reduce", all_reduce, "auto"), ("--shard", shard, "auto"), ("--gradient-hook", gradient_hook, "")]
    option = next((option for option, value, default in named if value != default and value != "none"), None)
    if option is not None:
        codec, reason = NONE, f"no compression: {option} says how gradients are exchanged"
    elif arena.dtype != "float32" or group.has_devices:
        codec, reason = NONE, "no compression: auto knows the times of gradients of float32 in the memory of CPUs only"
    else:
        codec, reason = choose_codec(arena, group)
    sync = make_gradient_sync(
        arena, group, all_reduce, shard, bucket_bytes, compress=codec, gradient_hook=gradient_hook
    )
    sync.reasons = [reason, *sync.reasons]
    return sync


def _checked_codec(arena: Arena, group: Group, all_reduce: str, shard: str, compress: str) -> Codec | None:
    """Return the codec, None without one; raise an AgreedError where it does not go with the other settings."""
    codec = None
    with group.together():
        codec = make_codec(compress)
        if codec is not None:
            check_carries(codec, compress, all_reduce)
            if arena.dtype != "float32":
                raise UserError(f"--compress is for gradients of float32, not {arena.dtype}")
    if codec is not None and shard in SHARDS:
        raise AgreedError(f"--shard {shard} does not go with --compress, whose sums every rank gets whole")
    return codec


def _checked_hook(group: Group, all_reduce: str, shard: str, compress: str, text: str) -> Exchange | None:
    """Return the user's function, None without one; raise an AgreedError where it does not go with other settings."""
    exchange = None
    with group.together():
        if text:
            exchange = make_gradient_hook(text)
            for option, given in (
                (f"--all-reduce {all_reduce}", all_reduce != "auto"),
                (f"--shard {shard}", shard in SHARDS),
                (f"--compress {compress}", compress != NONE),
            ):
                if given:
                    raise UserError(f"{option} does not go with --gradient-hook, which sums the gradients itself")
    if exchange is not None and group.has_devices:
        raise AgreedError("--gradient-hook gets gradients in the memory of CPUs only: take --device cpu")
    return exchange
