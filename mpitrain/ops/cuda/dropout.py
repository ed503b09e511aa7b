"""Dropout masks on a GPU: NumPy's Philox bits, one thread for each 16."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.plan import ceil_div
from .. import dropout as ops
from ..dropout import ELEMENTS_PER_TICK
from .elements import element_kernel
from .launch import spread

MASK = element_kernel("dropout.cu", name="dropout_mask")


@ops.dropout_mask.cuda
def dropout_mask(mask: Any, p: float, position: tuple[int, int, int, int], counters: Any = None) -> None:
    """One launch."""
    rows, columns = mask.shape
    ticks = ceil_div(columns, ELEMENTS_PER_TICK)
    numbers = (np.array(number, np.int64) for number in position)
    spread(device_of(mask), MASK.of(mask), ticks, rows, (mask, rows, columns, *numbers, round(p * 65536), counters))
