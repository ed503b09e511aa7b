"""Rotary position embedding on a GPU: one launch."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from .. import rotary as ops
from .launch import spread

ROTARY = kernel("rotary.cu", name="rotary")


@ops.rotary.cuda
def rotary(x: Any, table: Any, positions: Any, offset: int, back: bool) -> bool:
    """One launch, with a thread for each pair of a head, and tokens in turn."""
    fp32 = x.dtype == table.dtype == np.float32 and table.flags.c_contiguous
    whole = positions is None or (positions.dtype == np.int64 and positions.flags.c_contiguous)
    if not (fp32 and whole and x.strides[3] == 4):
        return False
    samples, heads, tokens, size = x.shape
    apart = (np.array(stride // 4, np.int64) for stride in x.strides[:3])
    numbers = samples, heads, tokens, size // 2, len(table), offset, -1.0 if back else 1.0, *apart
    spread(device_of(x), ROTARY, size // 2, tokens, (x, table, positions, *numbers), samples * heads)
    return True
