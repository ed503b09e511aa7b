"""Sums on a GPU: down columns, and of squares. The shape fixes the order of additions: the same bits each time."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from ...kernels.launch import launch
from ...kernels.plan import Launch
from ..square_sums import square_sums as op
from .columns import SUM_ROWS, Parts, cut_rows
from .gemm import workspace
from .launch import THREADS

COLUMN_SUM = kernel("reduce.cu", name="column_sum")
SQUARES = kernel("reduce.cu", name="sum_of_squares")


def sum_columns(x: Any, out: Any, accumulate: bool) -> None:
    """Write (or add) the sums of the columns of x (rows, n) to out (n,); both fp32, contiguous."""
    rows, n = x.shape
    if not x.size:
        if not accumulate:
            out.fill(0)
        return
    device: Any = device_of(x)
    parts = cut_rows(rows, n, device.num_processors)
    if parts.num == 1:
        parts.launch(device, COLUMN_SUM, x, out, rows, n, rows, int(accumulate))
        return
    between = np.array(workspace(device, 4 * parts.num * n).data.ptr, np.uint64)
    parts.launch(device, COLUMN_SUM, x, between, rows, n, parts.rows, 0)
    whole = Parts(parts.across, 1, parts.num)
    whole.launch(device, SUM_ROWS, between, out, parts.num, n, parts.num, int(accumulate))


@op.cuda
def square_sums(x: Any, parts: Any) -> bool:
    """One launch, of a block for each part."""
    if x.dtype != np.float32 or parts.dtype != np.float32:
        return False
    plan = Launch((parts.size, 1, 1), (THREADS, 1, 1))
    launch(device_of(x), SQUARES, plan, (x, parts, np.array(x.size, np.int64)))
    return True
