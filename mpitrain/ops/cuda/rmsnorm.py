"""Root mean square normalization on a GPU: one launch forward, and in backward one beside the sum of columns."""

from typing import Any

from ...device import device_of
from ...kernels.kernel import kernel
from .. import rmsnorm as ops
from ..gradient import Gradient
from ..workspace import workspace
from .launch import fits, run
from .reduce import column_sum

FORWARD, DX = kernel("rmsnorm.cu", name="rmsnorm_forward"), kernel("rmsnorm.cu", name="rmsnorm_dx")


@ops.rmsnorm.cuda
def rmsnorm(x: Any, w: Any, eps: float, r: Any, y: Any) -> bool:
    """One launch, with a warp for each row."""
    if not fits(x, r, y):
        return False
    run(device_of(x), FORWARD, 32 * len(x), (x, w, float(eps), r, y, *x.shape))
    return True


@ops.rmsnorm_backward.cuda
def rmsnorm_backward(dy: Any, x: Any, r: Any, w: Any, dw: Gradient, dx: Any) -> bool:
    """One launch that writes dx and the products that dw is the sum of, and that sum."""
    if not fits(dy, x, r, dx):
        return False
    products = workspace(x, "products", x.shape)
    run(device_of(dy), DX, 32 * len(dy), (dy, x, r, w, dx, products, *dy.shape))
    column_sum(products, dw.array, dw.accumulate)
    dw.written()
    return True
