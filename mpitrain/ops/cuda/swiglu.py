"""SwiGLU on a GPU: one launch each."""

from typing import Any

from ...device import device_of
from .. import swiglu as ops
from .elements import element_kernel, elements_fit
from .launch import num_pieces, piece_of, spread

FORWARD, DX = (element_kernel("swiglu.cu", name=f"swiglu_{name}") for name in ("forward", "dx"))


@ops.swiglu.cuda
def swiglu(x: Any, y: Any) -> bool:
    """One launch."""
    if not elements_fit(x, y):
        return False
    spread(device_of(x), FORWARD.of(x), num_pieces(y.shape[1], piece_of(y)), len(y), (x, y, *y.shape))
    return True


@ops.swiglu_dx.cuda
def swiglu_dx(x: Any, dy: Any, dx: Any) -> bool:
    """One launch."""
    if not elements_fit(x, dy, dx):
        return False
    spread(device_of(x), DX.of(x), num_pieces(dy.shape[1], piece_of(dy)), len(dy), (x, dy, dx, *dy.shape))
    return True
