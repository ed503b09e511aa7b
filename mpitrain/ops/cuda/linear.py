"""The linear map on a GPU."""

from typing import Any

import numpy as np

from ...device import device_of
from .. import linear as ops
from ..gradient import Gradient
from ..workspace import Keep
from .elements import element_kernel, elements_fit, fitting
from .launch import loop, size_of
from .matmul import covers, multiply

GELU_DX = {name: element_kernel("gelu.cu", name=f"{name}_dx") for name in ("gelu", "gelu_tanh")}


@ops.linear.cuda
def linear(x: Any, w: Any, b: Any, y: Any, relu: bool) -> bool:
    """One product with the bias, and the ReLU, in its epilogue."""
    if not covers(w, y):
        return False
    multiply(x, w, y, bias=b, epilogue="relu" if relu else "none")
    return True


@ops.linear_dx.cuda
def linear_dx(dy: Any, w: Any, dx: Any) -> bool:
    """One product."""
    if not covers(w, dx):
        return False
    multiply(dy, w, dx, transpose_b=True)
    return True


@ops.linear_dw.cuda
def linear_dw(x: Any, dy: Any, dw: Any, accumulate: bool) -> bool:
    """One product, which adds to dw where ``accumulate``."""
    if not covers(dw):
        return False
    multiply(x, dy, dw, transpose_a=True, beta=1.0 if accumulate else 0.0)
    return True


@ops.linear_dx_relu.cuda
def linear_dx_relu(dy: Any, w: Any, x: Any, dx: Any, db: Gradient | None) -> bool:
    """One product with the slope and the column sums of each slab of rows in its epilogue; then these are summed."""
    return _dx_through("relu", dy, w, x, dx, db)


@ops.linear_gelu.cuda
def linear_gelu(x: Any, w: Any, b: Any, y: Any, name: str, keep: Keep) -> Any:
    """One product with GELU in its epilogue, which also writes z, the argument of GELU."""
    if not covers(w, y):
        return False
    z = keep("pre", y.shape)
    multiply(x, w, y, bias=b, epilogue=name, pre=z)
    return z


@ops.linear_gelu_dx.cuda
def linear_gelu_dx(dy: Any, kept: Any, name: str) -> bool:
    """One launch."""
    if not elements_fit(kept):
        return False
    given = fitting(dy, kept, "gradient")
    loop(device_of(dy), GELU_DX[name].of(given), dy.size, (kept, given, given, size_of(dy)))
    if given is not dy:
        np.copyto(dy, given)
    return True


@ops.linear_dx_gelu.cuda
def linear_dx_gelu(dy: Any, w: Any, kept: Any, dx: Any, db: Gradient | None, name: str) -> bool:
    """As ``linear_dx_relu``."""
    return _dx_through(name, dy, w, kept, dx, db)


def _dx_through(activation: str, dy: Any, w: Any, kept: Any, dx: Any, db: Gradient | None) -> bool:
    if not covers(w, dx, kept) or kept.dtype != dx.dtype:
        return False
    multiply(dy, w, dx, transpose_b=True, epilogue=f"{activation}_gradient", pre=kept, sums=db)
    if db is not None:
        db.written()
    return True
