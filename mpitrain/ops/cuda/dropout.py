"""Dropout masks on a GPU: NumPy's Philox bits, one thread for each 16."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.plan import ceil_div
from .. import dropout as ops
from ..dropout import ELEMENTS_PER_TICK
from .elements import element_kernel
from .launch import piece_of, spread

MASK = element_kernel("dropout.cu", name="dropout_mask")


@ops.dropout_mask.cuda
def dropout_mask(mask: Any, p: float, position: tuple[int, int, int, int], counters: Any = None) -> None:
    """One launch."""
    rows, columns = mask.shape
    shared = ELEMENTS_PER_TICK // piece_of(mask)  # threads that draw together, for as many rows
    across, down = ceil_div(columns, ELEMENTS_PER_TICK) * shared, ceil_div(rows, shared)
    numbers = (np.array(number, np.int64) for number in position)
    spread(device_of(mask), MASK.of(mask), across, down, (mask, rows, columns, *numbers, round(p * 65536), counters))
