"""Reductions on a GPU: down columns, and of squares. The shape fixes the order of additions, and so the bits."""

from typing import Any, NamedTuple

import numpy as np

from ...device import device_of
from ...kernels.kernel import Kernel, kernel
from ...kernels.launch import launch
from ...kernels.plan import PIECE, THREADS, Launch, ceil_div
from .. import reduce as ops
from ..gradient import Gradient
from ..workspace import workspace
from .elements import element_kernel, elements_fit, is_bf16
from .launch import loop, piece_of, size_of, values

MASK_AND_SUM = element_kernel("reduce.cu", name="mask_and_sum")
COLUMN_SUM, SUM_ROWS = element_kernel("reduce.cu", name="column_sum"), kernel("reduce.cu", name="sum_rows")
OVER_RANKS = element_kernel("sum_over_ranks.cu")
SQUARES, SUM_PARTS = (kernel("reduce.cu", name=name) for name in ("sum_of_squares", "sum_parts"))
BLOCK_COLUMNS = 32 * PIECE  # of fp32
LEAST_TURNS = 8  # rows that each thread of a block adds up, unless there are fewer
BLOCKS_PER_SM = 4
PARTS_THREADS, PARTS_COLUMNS = 512, 32  # of a block of sum_parts


class Parts(NamedTuple):
    """``num`` parts of ``rows`` rows each (the last may be shorter), in ``across`` blocks of columns."""

    across: int
    num: int
    rows: int

    def launch(self, device: Any, kernel: Kernel, *arguments: Any) -> None:
        """Launch a kernel of reduce.cu or batchnorm.cu over them."""
        launch(device, kernel, Launch((self.across, self.num, 1), (THREADS, 1, 1)), values(arguments))


@ops.column_sum.cuda
def column_sum(x: Any, out: Any, accumulate: bool) -> None:
    """One launch, or two where there are many rows; CuPy's reduction of other types and layouts."""
    rows, n = x.shape
    if not x.size:
        if not accumulate:
            out.fill(0)
        return
    is_element = x.dtype == np.float32 or is_bf16(x)
    if not is_element or out.dtype != np.float32 or (n > 1 and x.strides[1] != x.itemsize) or x.strides[0] < 0:
        np.add(out, x.sum(axis=0, dtype=out.dtype), out=out) if accumulate else x.sum(0, out.dtype, out)
        return
    device: Any = device_of(x)
    parts, ld = cut_rows(rows, n, device.num_processors, piece_of(x)), x.strides[0] // x.itemsize
    if parts.num == 1:
        parts.launch(device, COLUMN_SUM.of(x), x, out, rows, n, ld, rows, int(accumulate))
        return
    between = workspace(x, "column sums", (parts.num, n), np.float32)
    parts.launch(device, COLUMN_SUM.of(x), x, between, rows, n, ld, parts.rows, 0)
    _whole(parts.num, n).launch(device, SUM_ROWS, between, out, parts.num, n, parts.num, int(accumulate))


def mask_and_sum(y: Any, dy: Any, sums: Gradient) -> bool:
    """Set dy (rows, n) to 0 where y <= 0, and put its column sums; False if their types are not covered."""
    if not elements_fit(y, dy) or sums.array.dtype != np.float32 or not dy.size:
        return False
    rows, n = dy.shape
    device: Any = device_of(dy)
    parts = cut_rows(rows, n, device.num_processors, piece_of(dy))
    out = sums.array if parts.num == 1 else workspace(dy, "column sums", (parts.num, n), np.float32)
    adds = int(sums.accumulate)
    parts.launch(device, MASK_AND_SUM.of(dy), y, dy, out, rows, n, parts.rows, adds if parts.num == 1 else 0)
    if parts.num > 1:
        _whole(parts.num, n).launch(device, SUM_ROWS, out, sums.array, parts.num, n, parts.num, adds)
    return True


@ops.sum_of_squares_in_parts.cuda
def sum_of_squares_in_parts(x: Any, parts: Any) -> bool:
    """One launch, with one block for each part."""
    if x.dtype != np.float32 or parts.dtype != np.float32:
        return False
    plan = Launch((parts.size, 1, 1), (THREADS, 1, 1))
    launch(device_of(x), SQUARES, plan, (x, parts, size_of(x)))
    return True


@ops.sum_over_ranks.cuda
def sum_over_ranks(x: Any, y: Any) -> bool:
    """One launch."""
    if not elements_fit(x, y):
        return False
    loop(device_of(x), OVER_RANKS.of(x), y.size, (x, y, len(x), size_of(y)))
    return True


def sum_slabs(device: Any, slabs: int, rows: int, n: int, between: int, sums: Gradient) -> None:
    """Put the column sums of the (rows, n) numbers that a product's epilogue left at address ``slabs``.

    ``between`` is the address of working memory, of ``between_bytes``.
    """
    parts, source = cut_rows(rows, n, device.num_processors), np.array(slabs, np.uint64)
    if parts.num > 1:
        middle = np.array(between, np.uint64)
        parts.launch(device, SUM_ROWS, source, middle, rows, n, parts.rows, 0)
        source, rows = middle, parts.num
    _whole(rows, n).launch(device, SUM_ROWS, source, sums.array, rows, n, rows, int(sums.accumulate))


def put_parts(parts: Any, first: Gradient, second: Gradient | None) -> None:
    """Put the sums over the parts of ``parts`` (2, parts, n): those of [0] to ``first``, of [1] to ``second``."""
    num, n = parts.shape[1:]
    plan = Launch((ceil_div(n, PARTS_COLUMNS), 1 if second is None else 2, 1), (PARTS_THREADS, 1, 1))
    outs = first.array, None if second is None else second.array
    adds = int(first.accumulate), int(second is not None and second.accumulate)
    launch(device_of(parts), SUM_PARTS, plan, values((parts, *outs, num, n, *adds)))
    for gradient in (second, first):
        if gradient is not None:
            gradient.written()


def between_bytes(rows: int, n: int, num_processors: int) -> int:
    """Return the size of the working memory of ``sum_slabs``."""
    num = cut_rows(rows, n, num_processors).num
    return 4 * num * n if num > 1 else 0


def _whole(rows: int, n: int) -> Parts:
    return Parts(ceil_div(n, BLOCK_COLUMNS), 1, rows)


def cut_rows(rows: int, n: int, num_processors: int, piece: int = PIECE) -> Parts:
    """Return the division of (rows, n): enough blocks to fill the GPU, each with some rows for every thread.

    A block has 32 pieces of columns.

    >>> cut_rows(100_000, 16, 100)
    Parts(across=1, num=196, rows=511)
    """
    across, lanes = max(1, ceil_div(n, 32 * piece)), 1
    while lanes < 32 and piece * lanes < n:
        lanes *= 2
    least = LEAST_TURNS * THREADS // lanes
    count = max(1, min(ceil_div(rows, least), BLOCKS_PER_SM * num_processors // across))
    each = max(1, ceil_div(rows, count))
    return Parts(across, ceil_div(rows, each), each)
