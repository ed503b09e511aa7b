"""Reductions down columns on a GPU: how rows are cut into parts. The shape decides, so bits are the same each time."""

from typing import Any, NamedTuple

from ...kernels.kernel import Kernel
from ...kernels.launch import launch
from ...kernels.plan import Launch, ceil_div
from .launch import THREADS, values

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
