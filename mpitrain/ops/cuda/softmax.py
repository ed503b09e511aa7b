"""Softmax of rows on a GPU: one launch forward, one backward."""

from collections.abc import Sequence
from typing import Any

from ...device import device_of
from .. import softmax as ops
from .elements import element_kernel, elements_fit
from .launch import run

LONG_ROW = 4096  # elements: a warp has up to so many, a block more
BLOCK_WARPS = 8
ATTENTION = "attention_softmax", "attention_softmax_dx"
KERNELS = {
    (name, warps, drops): element_kernel(
        "softmax.cu", ({"ROW_WARPS": warps} if warps > 1 else {}) | ({"DROPS": 1} if drops else {}), name=name
    )
    for drops, names in ((False, ("softmax_forward", "softmax_dx", *ATTENTION)), (True, ATTENTION))
    for name in names
    for warps in (1, BLOCK_WARPS)
}


@ops.softmax.cuda
def softmax(x: Any, y: Any) -> bool:
    """One launch."""
    if not elements_fit(x, y):
        return False
    rows, length = x.shape
    run_rows("softmax_forward", x, rows, length, (x, y, rows, length))
    return True


@ops.softmax_dx.cuda
def softmax_dx(y: Any, dy: Any, dx: Any) -> bool:
    """One launch."""
    if not elements_fit(y, dy, dx):
        return False
    rows, length = y.shape
    run_rows("softmax_dx", y, rows, length, (y, dy, dx, rows, length))
    return True


def run_rows(name: str, like: Any, rows: int, length: int, arguments: Sequence[Any], *, drops: bool = False) -> None:
    """Launch a kernel of softmax.cu for elements of the type of ``like``: a warp, or a block, for each row."""
    warps = BLOCK_WARPS if length > LONG_ROW else 1
    run(device_of(like), KERNELS[name, warps, drops].of(like), 32 * warps * rows, arguments)
