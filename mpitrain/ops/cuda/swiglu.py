"""SwiGLU on a GPU: one launch each."""

from typing import Any

from ...device import device_of
from ...kernels.kernel import kernel
from .. import swiglu as ops
from .launch import fits, num_pieces, spread

FORWARD, DX = kernel("swiglu.cu", name="swiglu_forward"), kernel("swiglu.cu", name="swiglu_dx")


@ops.swiglu.cuda
def swiglu(x: Any, y: Any) -> bool:
    """One launch."""
    if not fits(x, y):
        return False
    spread(device_of(x), FORWARD, num_pieces(y.shape[1]), len(y), (x, y, *y.shape))
    return True


@ops.swiglu_dx.cuda
def swiglu_dx(x: Any, dy: Any, dx: Any) -> bool:
    """One launch."""
    if not fits(x, dy, dx):
        return False
    spread(device_of(x), DX, num_pieces(dy.shape[1]), len(dy), (x, dy, dx, *dy.shape))
    return True
