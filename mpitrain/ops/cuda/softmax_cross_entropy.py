"""Cross-entropy on a GPU: the sums stay there, as (weight, loss, correct)."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import arch_number
from ...kernels.launch import launch
from ...kernels.plan import THREADS, Launch, ceil_div, shared_bytes_limit
from .. import softmax_cross_entropy as ops
from ..workspace import workspace
from .elements import element_kernel, elements_fit, in_layout_of
from .launch import values
from .reduce import column_sum

LONG_ROW = 4096  # elements: a warp has up to so many, a block more
BLOCK_WARPS = 16
STATIC_BYTES = 1024  # of shared memory, at most, that a block has besides its row
ROWS = {
    warps: element_kernel("softmax_cross_entropy.cu", {"ROW_WARPS": warps} if warps > 1 else {})
    for warps in (1, BLOCK_WARPS)
}


@ops.cross_entropy.cuda
def cross_entropy(
    logits: Any,
    targets: Any,
    smoothing: float,
    ignore_index: int,
    dlogits: Any,
    sums: Any,
    class_weights: Any = None,
) -> Any:
    """One launch for rows, which writes the gradient at once, and one or two for the sums of their losses.

    A target outside of [0, K) makes the loss NaN, which is diagnosed when the sums of the step are read.
    """
    if not elements_fit(dlogits):
        return False
    rows, totals = sums[: len(logits)], sums[len(logits)]
    logits = in_layout_of(dlogits, logits)
    _launch(logits, targets, smoothing, ignore_index, class_weights, rows, dlogits)
    column_sum(rows, totals, accumulate=False)
    return totals, None


@ops.cross_entropy_dx.cuda
def cross_entropy_dx(dlogits: Any, state: Any, smoothing: float) -> None:
    """Do nothing: forward has written the gradient."""


@ops.cross_entropy_gradient.cuda
def cross_entropy_gradient(
    logits: Any,
    targets: Any,
    smoothing: float,
    ignore_index: int,
    class_weights: Any = None,
    totals: Any = None,
    adds: bool = False,
) -> Any:
    """As ``cross_entropy``, in place and with rows any distance apart."""
    rows = workspace(logits, "losses", (len(logits), 3), np.float32)
    _launch(logits, targets, smoothing, ignore_index, class_weights, rows, logits)
    column_sum(rows, totals, adds)
    return totals


def _launch(
    logits: Any, targets: Any, smoothing: float, ignore_index: int, class_weights: Any, rows: Any, dlogits: Any
) -> None:
    num_rows, num_classes = logits.shape
    if not num_rows:
        return
    device: Any = device_of(logits)
    warps = BLOCK_WARPS if num_classes > LONG_ROW else 1
    plan, keeps = plan_rows(num_rows, num_classes * logits.itemsize, warps, arch_number(device.arch))
    numbers = num_rows, num_classes, logits.strides[0] // logits.itemsize, keeps
    ignored = np.array(ignore_index, np.int64)
    arguments = logits, targets, ignored, float(smoothing), class_weights, rows, dlogits, *numbers
    launch(device, ROWS[warps].of(logits), plan, values(arguments))


def plan_rows(num_rows: int, row_bytes: int, warps: int, arch: int) -> tuple[Launch, int]:
    """Return the launch, and 1 where each block keeps its row in shared memory between its two passes.

    >>> plan_rows(2048, 2 * 50257, 16, 90)[1], plan_rows(2048, 4 * 50257, 16, 80)[1]
    (1, 0)
    """
    if warps == 1:
        return Launch((ceil_div(num_rows * 32, THREADS), 1, 1), (THREADS, 1, 1)), 0
    shared = ceil_div(row_bytes, 16) * 16
    keeps = shared + STATIC_BYTES <= shared_bytes_limit(arch)
    return Launch((num_rows, 1, 1), (32 * warps, 1, 1), shared if keeps else 0), int(keeps)
