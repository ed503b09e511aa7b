"""Dropout masks on a GPU: NumPy's Philox bits, one thread for each 16."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from .. import dropout as ops
from ..dropout import ELEMENTS_PER_TICK
from .launch import run

MASK = kernel("dropout.cu", name="dropout_mask")


@ops.dropout_mask.cuda
def dropout_mask(mask: Any, p: float, place: tuple[int, int, int, int]) -> None:
    """One launch."""
    seed, layer, step, first = (np.array(number, np.uint64) for number in place)
    rows, columns = mask.shape
    ticks = -(-columns // ELEMENTS_PER_TICK)
    arguments = (mask, np.array(rows, np.int64), columns, round(p * 65536), seed, layer, step, first)
    run(device_of(mask), MASK, rows * ticks, arguments)
