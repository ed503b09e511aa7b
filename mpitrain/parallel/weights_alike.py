"""Comparison of models and weights that should be equal on several ranks."""

import itertools
import zlib
from collections.abc import Sequence

import numpy as np

from ..comm.group import Group
from ..comm.ranks import Ranks
from ..comm.watch.slot import name_rank
from ..device import device_of
from ..parameter import Tensor


def model_difference(ranks: Ranks, mine: list[tuple[str, tuple[int, ...]]]) -> str:
    """Return where the ranks have built different models, given as names and shapes; "" if they are alike."""
    models = ranks.all_gather(zlib.crc32(repr(mine).encode()))
    if len(set(models)) == 1:
        return ""
    layouts = ranks.all_gather(mine)
    rank = next(r for r, model in enumerate(models) if model != models[0])
    theirs, ours = next((a, b) for a, b in itertools.zip_longest(layouts[rank], layouts[0]) if a != b)
    odd, first = ranks.world_ranks[rank], ranks.world_ranks[0]
    return (
        f"rank {odd} has built another model than rank {first}: its {theirs or 'list of parameters ends'} stands "
        f"where rank {first} has {ours or 'none'}; give all ranks the same options, files and program version"
    )


def weight_difference(group: Group, when: str, parameters: Sequence[Tensor], values: np.ndarray | None = None) -> str:
    """Return which weights differ over the ranks of ``group``, "" if they are equal; the same on all of them.

    Parameters
    ----------
    when : str
        For the message: "after step 3".
    parameters : sequence of Tensor
    values : array, optional
        The buffer that has all of them, and zeros between them.
    """
    mine = [_hash(p.data) for p in parameters] if values is None else []
    hashes = group.all_gather(zlib.crc32(repr(mine).encode()) if values is None else _hash(values))
    if len(set(hashes)) == 1:
        return ""
    usual = max(hashes, key=hashes.count)
    rank = next(r for r, h in enumerate(hashes) if h != usual)
    model_rank = hashes.index(usual)
    all_hashes = group.all_gather(mine or [_hash(p.data) for p in parameters])
    pairs = zip(parameters, all_hashes[rank], all_hashes[model_rank], strict=True)
    name = next((p.name for p, a, b in pairs if a != b), "the padding between parameters")
    odd, usual_rank = group.world_ranks[rank], group.world_ranks[model_rank]
    ledger = group.job.ledger
    stages = "" if ledger is None else ledger.mine.stages  # all ranks of the group have the same
    return f"the weights of {name_rank(odd, stages)} differ from those of rank {usual_rank} {when}: {name}"


def _hash(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(device_of(array).to_host(array)).data)
