"""Dropout on a GPU: NumPy's Philox bits, one thread for each 16, applied where they are drawn."""

import math
from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.plan import ceil_div
from .. import dropout as ops
from ..dropout import ELEMENTS_PER_TICK, Masks
from ..elementwise import multiply
from ..workspace import Keep
from .elements import ElementKernel, element_kernel, elements_fit
from .launch import piece_of, spread

DROPOUT, MASK = element_kernel("dropout.cu"), element_kernel("dropout.cu", name="dropout_mask")


@ops.dropout_mask.cuda
def dropout_mask(mask: Any, p: float, position: tuple[int, int, int, int], counters: Any = None) -> None:
    """One launch."""
    _launch(MASK, mask.shape, Masks(p, position, counters), mask)


@ops.dropout.cuda
def dropout(x: Any, masks: Masks, y: Any, keep: Keep) -> Any:
    """One launch, after which nothing is kept."""
    if not elements_fit(x, y):
        return False
    _launch(DROPOUT, (len(x), math.prod(x.shape[1:])), masks, x, y)
    return None


@ops.dropout_dx.cuda
def dropout_dx(dy: Any, masks: Masks, mask: Any, dx: Any) -> bool:
    """One launch, which draws the mask again; with a mask, a product."""
    if mask is not None:
        multiply(dy, mask, dx)
        return True
    if not elements_fit(dy, dx):
        return False
    _launch(DROPOUT, (len(dy), math.prod(dy.shape[1:])), masks, dy, dx)
    return True


def _launch(kernel: ElementKernel, shape: tuple[int, int], masks: Masks, *arrays: Any) -> None:
    rows, columns = shape
    shared = ELEMENTS_PER_TICK // piece_of(arrays[0])  # threads that draw together, for as many rows
    across, down = ceil_div(columns, ELEMENTS_PER_TICK) * shared, ceil_div(rows, shared)
    numbers = (np.array(number, np.int64) for number in masks.position)
    arguments = *arrays, rows, columns, *numbers, masks.threshold, masks.counters
    spread(device_of(arrays[0]), kernel.of(arrays[0]), across, down, arguments)
