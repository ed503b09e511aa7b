"""LARS on a GPU: one launch for the norms of all parameters, one for their update; nothing is copied to the host."""

from itertools import accumulate
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from ...kernels.launch import launch
from ...kernels.plan import THREADS, Launch
from .. import lars as ops
from .launch import values

NORMS, UPDATE = kernel("lars.cu", name="lars_norms"), kernel("lars.cu")
PARTS = 32  # blocks for each piece
RECORD = np.dtype(
    [
        *((name, np.uint64) for name in ("w", "g", "v", "copy")),
        ("n", np.int64),
        *((name, np.int32) for name in ("first", "last", "decays", "unused")),
    ]
)
assert RECORD.itemsize == 56, "the layout of struct Piece"
_TABLES: "WeakKeyDictionary[ops.Pieces, tuple[Any, Any, int]]" = WeakKeyDictionary()


@ops.lars_update.cuda
def lars_update(arena: Any, pieces: ops.Pieces, rates: ops.Rates) -> bool:
    """Two launches."""
    one_source = all(len(block.sources) == 1 for piece in pieces.each for block in piece.blocks)
    if arena.dtype != np.float32 or pieces.sum_over_ranks is not None or not one_source:
        return False
    device = device_of(arena)
    if pieces not in _TABLES:
        records = _records(pieces)
        table = device.from_host(records.view(np.uint8))
        _TABLES[pieces] = table, device.empty((len(records), PARTS, 2)), len(records)
    table, partials, num = _TABLES[pieces]
    if num:
        plan = Launch((PARTS, num, 1), (THREADS, 1, 1))
        launch(device, NORMS, plan, (table, partials))
        launch(device, UPDATE, plan, values((table, partials, pieces.numbers, *map(float, rates))))
    return True


def _records(pieces: ops.Pieces) -> np.ndarray:
    """Return struct Piece of each block; those of one parameter are neighbors."""
    ends = [0, *accumulate(len(piece.blocks) for piece in pieces.each)]
    records = []
    for piece, first, last in zip(pieces.each, ends, ends[1:], strict=False):
        for block in piece.blocks:
            arrays: tuple[Any, ...] = block.w, block.grad, block.slots[0], block.copy
            addresses = (0 if a is None else a.data.ptr for a in arrays)
            records.append((*addresses, block.w.size, first, last, piece.decays, 0))
    return np.array(records, RECORD)
