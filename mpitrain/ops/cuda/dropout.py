"""Dropout masks on a GPU: NumPy's Philox bits, one thread for each 16."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from ...kernels.plan import ceil_div
from .. import dropout as ops
from ..dropout import ELEMENTS_PER_TICK
from .launch import spread

MASK = kernel("dropout.cu", name="dropout_mask")


@ops.dropout_mask.cuda
def dropout_mask(mask: Any, p: float, position: tuple[int, int, int, int], counters: Any = None) -> None:
    """One launch."""
    rows, columns = mask.shape
    ticks = ceil_div(columns, ELEMENTS_PER_TICK)
    numbers = (np.array(number, np.int64) for number in position)
    spread(device_of(mask), MASK, ticks, rows, (mask, rows, columns, *numbers, round(p * 65536), counters))
