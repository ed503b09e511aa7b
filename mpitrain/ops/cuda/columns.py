"""Reductions down columns on a GPU: how rows are cut into parts. The shape decides, so bits are the same each time."""

from typing import Any, NamedTuple

import numpy as np

from ...kernels.kernel import Kernel, kernel
from ...kernels.launch import launch
from ...kernels.plan import Launch, ceil_div
from ..gradient import Gradient
from .launch import THREADS, values

SUM_ROWS = kernel("reduce.cu", name="sum_rows")
BLOCK_COLUMNS = 128
LEAST_TURNS = 8  # of a block: rows that each of its threads adds up, unless there are fewer
BLOCKS_AN_SM = 2


class Parts(NamedTuple):
    """``num`` parts of ``rows`` rows each (the last may be shorter), in blocks of 128 columns."""

    across: int
    num: int
    rows: int

    def launch(self, device: Any, kernel: Kernel, *arguments: Any) -> None:
        """Launch a kernel of reduce.cu or batchnorm.cu over them."""
        launch(device, kernel, Launch((self.across, self.num, 1), (THREADS, 1, 1)), values(arguments))


def sum_slabs(device: Any, slabs: int, rows: int, n: int, between: int, sums: Gradient) -> None:
    """Put the sums of what a product's epilogue has left at address ``slabs``, (rows, n).

    ``between`` is the address of working memory, of ``between_bytes``.
    """
    parts, source = cut_rows(rows, n, device.num_processors), np.array(slabs, np.uint64)
    if parts.num > 1:
        middle = np.array(between, np.uint64)
        parts.launch(device, SUM_ROWS, source, middle, rows, n, parts.rows, 0)
        source, rows = middle, parts.num
    Parts(parts.across, 1, rows).launch(device, SUM_ROWS, source, sums.array, rows, n, rows, int(sums.accumulate))


def between_bytes(rows: int, n: int, num_processors: int) -> int:
    """Return what ``sum_slabs`` needs."""
    num = cut_rows(rows, n, num_processors).num
    return 4 * num * n if num > 1 else 0


def cut_rows(rows: int, n: int, num_processors: int) -> Parts:
    """Return how (rows, n) is cut: enough blocks to fill the GPU, each with some rows for every thread.

    >>> cut_rows(100_000, 16, 100)
    Parts(across=1, num=196, rows=511)
    """
    across, lanes = max(1, ceil_div(n, BLOCK_COLUMNS)), 1
    while lanes < 32 and 4 * lanes < n:
        lanes *= 2
    least = LEAST_TURNS * THREADS // lanes
    count = max(1, min(ceil_div(rows, least), BLOCKS_AN_SM * num_processors // across))
    each = max(1, ceil_div(rows, count))
    return Parts(across, ceil_div(rows, each), each)
