"""Losses on a GPU: their sums stay there, as (weight, loss, correct)."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from .. import mse
from .. import softmax_cross_entropy as softmax
from .launch import THREADS, run

ROWS = kernel("softmax_xent.cu", name="softmax_xent")
SUM = kernel("softmax_xent.cu", name="softmax_xent_sum")


@softmax.cross_entropy.cuda
def cross_entropy(
    logits: Any, targets: Any, smoothing: float, ignored: int, exponentials: Any, sums: Any
) -> tuple[Any, Any]:
    """Two launches: rows, which write the gradient at once, and the sum over them."""
    device, (num_rows, num_classes) = device_of(logits), logits.shape
    rows, totals = sums[:num_rows], sums[num_rows]
    none = np.array(ignored, np.int64)
    arguments = (logits, targets, exponentials, rows, num_rows, num_classes, float(smoothing), none)
    run(device, ROWS, 32 * num_rows, arguments)
    run(device, SUM, THREADS, (rows, totals, num_rows))
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
