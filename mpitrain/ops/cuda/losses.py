"""Losses on a GPU: their sums stay there, as (weight, loss, correct)."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from ...kernels.launch import launch
from ...kernels.plan import Launch, ceil_div
from .. import mse
from .. import softmax_cross_entropy as softmax
from .launch import THREADS, loop, run
from .sums import sum_columns

ROWS = kernel("softmax_cross_entropy.cu")
SQUARES, SQUARES_DX = (kernel("elementwise.cu", name=name) for name in ("squared_error", "squared_error_dx"))


@softmax.cross_entropy.cuda
def cross_entropy(
    logits: Any, targets: Any, smoothing: float, ignored: int, exponentials: Any, sums: Any
) -> tuple[Any, Any]:
    """One launch for rows, which writes the gradient at once, and the sums of their losses.

    A target outside of [0, K) makes the loss NaN, which is looked into when the sums of the step are read.
    """
    num_rows, num_classes = logits.shape
    rows, totals = sums[:num_rows], sums[num_rows]
    tail = (rows, exponentials, num_rows, num_classes)
    run(device_of(logits), ROWS, 32 * num_rows, (logits, targets, np.array(ignored, np.int64), float(smoothing), *tail))
    sum_columns(rows, totals, accumulate=False)
    return totals, None


@softmax.cross_entropy_dx.cuda
def cross_entropy_dx(exponentials: Any, kept: Any, smoothing: float) -> None:
    """Nothing: forward has written the gradient."""


@mse.squared_error.cuda
def squared_error(y: Any, t: Any, difference: Any, sums: Any) -> Any:
    """One launch for squares, which writes the difference too, and one for their sum."""
    parts = min(len(sums) - 1, ceil_div(y.size, 4 * THREADS))
    device, t = device_of(y), t.astype(np.float32, copy=False)
    if parts:
        arguments = y, t, difference, sums, np.array(y.size, np.int64)
        launch(device, SQUARES, Launch((parts, 1, 1), (THREADS, 1, 1)), arguments)
    sum_columns(sums[:parts], sums[-1], accumulate=False)
    return sums[-1]


@mse.squared_error_dx.cuda
def squared_error_dx(difference: Any) -> None:
    """One launch."""
    loop(device_of(difference), SQUARES_DX, difference.size, (difference, np.array(difference.size, np.int64)))
