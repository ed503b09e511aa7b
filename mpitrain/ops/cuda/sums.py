"""Sums on a GPU: down columns, and of squares. The shape fixes the order of additions: the same bits each time."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from ...kernels.launch import launch
from ...kernels.plan import Launch, ceil_div
from ..square_sums import square_sums as op
from .gemm import workspace
from .launch import THREADS

COLUMN_SUM = kernel("reduce.cu", name="column_sum")
SUM_ROWS = kernel("reduce.cu", name="sum_rows")
SQUARES = kernel("reduce.cu", name="sum_of_squares")
BLOCK_COLUMNS = 128
LEAST_ROWS = 64  # of a part
BLOCKS_AN_SM = 2


def sum_columns(x: Any, out: Any, accumulate: bool) -> None:
    """Write (or add) the sums of the columns of x (rows, n) to out (n,); both fp32, contiguous."""
    rows, n = x.shape
    if not x.size:
        if not accumulate:
            out.fill(0)
        return
    device: Any = device_of(x)
    across = ceil_div(n, BLOCK_COLUMNS)
    parts = min(ceil_div(rows, LEAST_ROWS), max(1, BLOCKS_AN_SM * device.num_processors // across))
    each = ceil_div(rows, parts)
    parts = ceil_div(rows, each)
    if parts == 1:
        _launch(device, COLUMN_SUM, (across, 1), x, out, rows, n, rows, accumulate)
        return
    between = np.array(workspace(device, 4 * parts * n).data.ptr, np.uint64)
    _launch(device, COLUMN_SUM, (across, parts), x, between, rows, n, each, False)
    _launch(device, SUM_ROWS, (across, 1), between, out, parts, n, parts, accumulate)


def _launch(device: Any, what: Any, grid: tuple[int, int], x: Any, out: Any, *numbers: int) -> None:
    arguments = [x, out, *(np.array(int(number), np.int32) for number in numbers)]
    launch(device, what, Launch((*grid, 1), (THREADS, 1, 1)), arguments)


@op.cuda
def square_sums(x: Any, parts: Any) -> bool:
    """One launch, of a block for each part."""
    if x.dtype != np.float32 or parts.dtype != np.float32:
        return False
    plan = Launch((parts.size, 1, 1), (THREADS, 1, 1))
    launch(device_of(x), SQUARES, plan, (x, parts, np.array(x.size, np.int64)))
    return True
