"""Losses on a GPU: their sums stay there, as (weight, loss, correct)."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from .. import mse
from .. import softmax_cross_entropy as softmax
from .launch import run
from .sums import sum_columns

ROWS = kernel("softmax_cross_entropy.cu")


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
def squared_error(y: Any, t: Any, difference: Any) -> Any:
    """CuPy's functions."""
    np.subtract(y, t, out=difference)
    flat = difference.reshape(-1)
    totals = np.zeros(3, np.float32, like=flat)
    totals[0] = flat.size
    np.multiply(flat, flat).sum(out=totals[1])
    return totals
