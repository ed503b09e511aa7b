"""Cross-entropy on a GPU: the sums stay there, as (weight, loss, correct)."""

from typing import Any

import numpy as np

from ...device import device_of
from .. import softmax_cross_entropy as ops
from .elements import element_kernel
from .launch import run
from .reduce import column_sum

ROWS = element_kernel("softmax_cross_entropy.cu")


@ops.cross_entropy.cuda
def cross_entropy(
    logits: Any,
    targets: Any,
    smoothing: float,
    ignore_index: int,
    dlogits: Any,
    sums: Any,
    class_weights: Any = None,
) -> tuple[Any, Any]:
    """One launch for rows, which writes the gradient at once, and one or two for the sums of their losses.

    A target outside of [0, K) makes the loss NaN, which is diagnosed when the sums of the step are read.
    """
    num_rows, num_classes = logits.shape
    rows, totals, ignored = sums[:num_rows], sums[num_rows], np.array(ignore_index, np.int64)
    arguments = logits, targets, ignored, float(smoothing), class_weights, rows, dlogits, num_rows, num_classes
    run(device_of(logits), ROWS.of(logits), 32 * num_rows, arguments)
    column_sum(rows, totals, accumulate=False)
    return totals, None


@ops.cross_entropy_dx.cuda
def cross_entropy_dx(dlogits: Any, state: Any, smoothing: float) -> None:
    """Do nothing: forward has written the gradient."""
