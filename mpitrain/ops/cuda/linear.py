"""The linear map on a GPU."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from .. import linear as ops
from ..gradient import Gradient
from .gemm import covers, multiply
from .launch import loop
from .sums import sum_columns

GELU_DX = {name: kernel("elementwise.cu", name=f"{name}_dx") for name in ("gelu", "gelu_tanh")}


@ops.linear.cuda
def linear(x: Any, w: Any, b: Any, y: Any, relu: bool = False) -> bool:
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


@ops.linear_dx_relu.cuda
def linear_dx_relu(dy: Any, w: Any, x: Any, dx: Any, db: Gradient | None, buffer: Any) -> bool:
    """One product with the slope and the column sums of each slab of rows in its epilogue; then these are summed."""
    if not covers(w, dx, x):
        return False
    multiply(dy, w, dx, transpose_b=True, epilogue="relu_gradient", pre=x, sums=db)
    if db is not None:
        db.written()
    return True


@ops.linear_gelu.cuda
def linear_gelu(x: Any, w: Any, b: Any, y: Any, name: str, keep: Any) -> Any:
    """One product with GELU in its epilogue, which also writes what that was applied to."""
    if not covers(w, y):
        return False
    pre = keep("pre", y.shape)
    multiply(x, w, y, bias=b, epilogue=name, pre=pre)
    return pre


@ops.linear_gelu_dx.cuda
def linear_gelu_dx(dy: Any, kept: Any, name: str) -> bool:
    """One launch."""
    if not covers(kept):
        return False
    loop(device_of(dy), GELU_DX[name], dy.size, (kept, dy, dy, np.array(dy.size, np.int64)))
    return True


@ops.linear_dx_gelu.cuda
def linear_dx_gelu(dy: Any, w: Any, kept: Any, dx: Any, db: Gradient | None, name: str) -> bool:
    """As ``linear_dx_relu``."""
    if not covers(w, dx, kept):
        return False
    multiply(dy, w, dx, transpose_b=True, epilogue=f"{name}_gradient", pre=kept, sums=db)
    if db is not None:
        db.written()
    return True


@ops.linear_dw.cuda
def linear_dw(x: Any, dy: Any, dw: Any, scratch: Any) -> bool:
    """One product, added to dw where there is a scratch, which is not needed."""
    if not covers(dw):
        return False
    multiply(x, dy, dw, transpose_a=True, beta=0.0 if scratch is None else 1.0)
    return True


@ops.column_sum.cuda
def column_sum(dy: Any, db: Any, accumulate: bool) -> None:
    """Our kernel, or CuPy's reduction of what does not lie in one piece."""
    if dy.dtype == np.float32 and dy.flags.c_contiguous:
        sum_columns(dy, db, accumulate)
    elif accumulate:
        np.add(db, dy.sum(axis=0), out=db)
    else:
        dy.sum(axis=0, out=db)
