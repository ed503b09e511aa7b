"""Rotary position embedding on a GPU: one launch."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.plan import ceil_div
from .. import rotary as ops
from .elements import element_kernel, is_bf16
from .launch import piece_of, spread

ROTARY = element_kernel("rotary.cu", name="rotary")


@ops.rotary.cuda
def rotary(x: Any, table: Any, positions: Any, offset: int, back: bool) -> bool:
    """One launch, with a thread for each 16 bytes of half a head, and tokens in turn."""
    known = (x.dtype == np.float32 or is_bf16(x)) and table.dtype == np.float32 and table.flags.c_contiguous
    whole = positions is None or (positions.dtype == np.int64 and positions.flags.c_contiguous)
    if not (known and whole and x.strides[3] == x.itemsize):
        return False
    samples, heads, tokens, size = x.shape
    apart = (np.array(stride // x.itemsize, np.int64) for stride in x.strides[:3])
    numbers = samples, heads, tokens, size // 2, len(table), offset, -1.0 if back else 1.0, *apart
    across = ceil_div(size // 2, piece_of(x))
    spread(device_of(x), ROTARY.of(x), across, tokens, (x, table, positions, *numbers), samples * heads)
    return True
