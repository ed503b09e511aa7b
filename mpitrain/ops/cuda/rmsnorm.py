"""Root mean square normalization on a GPU: one launch forward, and in backward one beside the sum of columns."""

from typing import Any

from ...device import device_of
from .. import rmsnorm as ops
from ..gradient import Gradient
from ..workspace import workspace
from .elements import element_kernel, elements_fit
from .launch import fits, run
from .reduce import column_sum

FORWARD, DX = (element_kernel("rmsnorm.cu", name=f"rmsnorm_{name}") for name in ("forward", "dx"))


@ops.rmsnorm.cuda
def rmsnorm(x: Any, w: Any, eps: float, r: Any, y: Any) -> bool:
    """One launch, with a warp for each row."""
    if not (elements_fit(x, y) and fits(r)):
        return False
    run(device_of(x), FORWARD.of(x), 32 * len(x), (x, w, float(eps), r, y, *x.shape))
    return True


@ops.rmsnorm_backward.cuda
def rmsnorm_backward(dy: Any, x: Any, r: Any, w: Any, dw: Gradient, dx: Any) -> bool:
    """One launch that writes dx and the products that dw is the sum of, and that sum."""
    if not (elements_fit(dy, x, dx) and fits(r)):
        return False
    products = workspace(x, "products", x.shape)
    run(device_of(dy), DX.of(dy), 32 * len(dy), (dy, x, r, w, dx, products, *dy.shape))
    column_sum(products, dw.array, dw.accumulate)
    dw.written()
    return True
