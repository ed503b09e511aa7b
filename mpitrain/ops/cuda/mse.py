"""Squared error on a GPU: the sums stay there, as (weight, loss, correct)."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.launch import launch
from ...kernels.plan import THREADS, Launch, ceil_div
from .. import mse as ops
from .elements import element_kernel, elements_fit, in_layout_of
from .launch import loop, size_of
from .reduce import column_sum

SQUARES, SQUARES_DX = (element_kernel("mse.cu", name=name) for name in ("squared_error", "squared_error_dx"))


@ops.squared_error.cuda
def squared_error(y: Any, t: Any, difference: Any, sums: Any) -> Any:
    """One launch for squares, which also writes the difference, and one for their sum."""
    if not elements_fit(difference):
        return False
    parts = min(len(sums) - 1, ceil_div(y.size, 4 * THREADS))
    device, y = device_of(y), in_layout_of(difference, y)
    t = t.astype(np.float32, copy=False)
    if parts:
        launch(device, SQUARES.of(y), Launch((parts, 1, 1), (THREADS, 1, 1)), (y, t, difference, sums, size_of(y)))
    column_sum(sums[:parts], sums[-1], accumulate=False)
    return sums[-1]


@ops.squared_error_dx.cuda
def squared_error_dx(difference: Any) -> None:
    """One launch."""
    loop(device_of(difference), SQUARES_DX.of(difference), difference.size, (difference, size_of(difference)))
