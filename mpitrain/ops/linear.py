"""Linear map: y = x w + b.

Shapes: x (N, I), w (I, O), b (O,), y (N, O); all C-contiguous, one dtype. Any N, also 0.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from .activations import relu_dx
from .dispatch import op
from .gelu import gelu, gelu_dx, gelu_tanh
from .gradient import Gradient
from .product import product


@op
def linear(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, relu: bool = False) -> None:
    """Write x w + b to ``y``, and its ReLU if wanted."""
    product(x, w, y)
    if b is not None:
        np.add(y, b, out=y)
    if relu:
        np.maximum(y, 0, out=y)


@op
def linear_dx(dy: np.ndarray, w: np.ndarray, dx: np.ndarray) -> None:
    """Write dx = dy w^T."""
    np.matmul(dy, w.T, out=dx)


@op
def linear_dx_relu(
    dy: np.ndarray, w: np.ndarray, x: np.ndarray, dx: np.ndarray, db: Gradient | None, buffer: Any
) -> None:
    """Write dx = dy w^T where x > 0 and 0 elsewhere, and put its sums over rows.

    x was given by a ReLU; so dx is the gradient of what that was applied to, and db that of the bias in it.
    """
    linear_dx(dy, w, dx)
    relu_dx(x, dx, dx, buffer("mask", dx.shape, bool))
    if db is not None:
        column_sum(dx, db.array, db.accumulate)
        db.written()


@op
def linear_gelu(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, name: str, keep: Any) -> Any:
    """Write y = GELU(x w + b), ``name`` being gelu or gelu_tanh; return what backward needs, memory from ``keep``.

    That is the slope; on a GPU, which computes it again, what GELU was applied to.
    """
    pre, slope = keep("pre", y.shape), keep("slope", y.shape)
    linear(x, w, b, pre)
    (gelu if name == "gelu" else gelu_tanh)(pre, y, slope)
    return slope


@op
def linear_gelu_dx(dy: np.ndarray, kept: Any, name: str) -> None:
    """Multiply dy by the slope of GELU: it is the gradient of x w + b then."""
    gelu_dx(kept, dy, dy)


@op
def linear_dx_gelu(dy: np.ndarray, w: np.ndarray, kept: Any, dx: np.ndarray, db: Gradient | None, name: str) -> None:
    """Do as ``linear_dx_relu`` where x was given by ``linear_gelu``, which has kept ``kept``."""
    linear_dx(dy, w, dx)
    linear_gelu_dx(dx, kept, name)
    if db is not None:
        column_sum(dx, db.array, db.accumulate)
        db.written()


@op
def linear_dw(x: np.ndarray, dy: np.ndarray, dw: np.ndarray, scratch: np.ndarray | None) -> None:
    """Write dw = x^T dy; with ``scratch`` (same shape as dw) add to dw instead."""
    if scratch is None:
        product(x.T, dy, dw)
    else:
        product(x.T, dy, scratch)
        np.add(dw, scratch, out=dw)


@op
def column_sum(dy: np.ndarray, db: np.ndarray, accumulate: bool) -> None:
    """Write (or add) the sum over rows of ``dy`` (N, O) to ``db`` (O,): the gradient of a bias."""
    ones = _ones(len(dy), dy.dtype)
    if accumulate:
        np.add(db, ones @ dy, out=db)
    else:
        np.matmul(ones, dy, out=db)


@lru_cache(maxsize=64)
def _ones(count: int, dtype: np.dtype) -> np.ndarray:
    return np.ones(count, dtype)
