"""Losses on a GPU: their sums stay there, as (weight, loss, correct)."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from .. import mse
from .. import softmax_cross_entropy as softmax
from .launch import run

ROWS = kernel("softmax_cross_entropy.cu")


@softmax.cross_entropy.cuda
def cross_entropy(
    logits: Any, targets: Any, smoothing: float, ignored: int, exponentials: Any, sums: Any
) -> tuple[Any, Any]:
    """One launch for rows, which writes the gradient at once, and sums over them.

    A target outside of [0, K) counts for nothing, like the ignored: to say so would be to wait for the GPU.
    """
    num_rows, num_classes = logits.shape
    flat, totals = sums.reshape(-1), sums[num_rows]
    losses = flat[:num_rows]
    right = flat[num_rows : 2 * num_rows].view(np.int32)
    flags = flat[2 * num_rows : 3 * num_rows].view(bool)  # four for each row
    counted, other = flags[:num_rows], flags[num_rows : 2 * num_rows]
    np.greater_equal(targets, 0, out=counted)
    np.logical_and(counted, np.less(targets, num_classes, out=other), out=counted)
    if 0 <= ignored < num_classes:
        np.logical_and(counted, np.not_equal(targets, ignored, out=other), out=counted)
    arguments = (logits, targets, counted, float(smoothing), losses, right, exponentials, num_rows, num_classes)
    run(device_of(logits), ROWS, 32 * num_rows, arguments)
    for total, part in zip(totals, (counted, losses, right), strict=True):
        part.sum(dtype=np.float32, out=total)
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
