"""Linear map: y = x w + b, alone and together with the activation after it.

Shapes: x (N, I), w (I, O), b (O,), y (N, O); all C-contiguous, one dtype. Any N, also 0.
"""

from typing import Any

import numpy as np

from .dispatch import op
from .elementwise import relu_dx
from .gelu import gelu, gelu_dx, gelu_tanh
from .gradient import Gradient
from .matmul import matmul
from .reduce import column_sum
from .workspace import Keep, workspace


@op
def linear(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, relu: bool) -> None:
    """Write y = x w + b, or with ``relu`` max(x w + b, 0)."""
    matmul(x, w, y)
    if b is not None:
        np.add(y, b, out=y)
    if relu:
        np.maximum(y, 0, out=y)


@op
def linear_dx(dy: np.ndarray, w: np.ndarray, dx: np.ndarray) -> None:
    """Write dx = dy w^T."""
    np.matmul(dy, w.T, out=dx)


@op
def linear_dw(x: np.ndarray, dy: np.ndarray, dw: np.ndarray, accumulate: bool) -> None:
    """Write (or add) dw = x^T dy."""
    if not accumulate:
        matmul(x.T, dy, dw)
        return
    part = workspace(dw, "dw", dw.shape)
    matmul(x.T, dy, part)
    np.add(dw, part, out=dw)


@op
def linear_dx_relu(dy: np.ndarray, w: np.ndarray, x: np.ndarray, dx: np.ndarray, db: Gradient | None) -> None:
    """Write dx = dy w^T where x > 0 and 0 elsewhere, and put db = its sum over rows.

    Here x = max(z, 0), the result of the layer below; so dx is the gradient of z and db that of the bias in z.
    """
    linear_dx(dy, w, dx)
    relu_dx(x, dx, dx)
    _put_sum(dx, db)


@op
def linear_gelu(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, name: str, keep: Keep) -> Any:
    """Write y = f(z), z = x w + b, where f is "gelu" or "gelu_tanh"; return the array that backward needs.

    That is the slope f'(z); on a GPU, which recomputes the slope, z itself.
    """
    slope = keep("slope", y.shape)
    linear(x, w, b, slope, False)  # which is z until the slope takes its place
    (gelu if name == "gelu" else gelu_tanh)(slope, y, slope)
    return slope


@op
def linear_gelu_dx(dy: np.ndarray, kept: Any, name: str) -> None:
    """Multiply dy by f'(z), given the result of ``linear_gelu``: it becomes the gradient of z."""
    gelu_dx(kept, dy, dy)


@op
def linear_dx_gelu(dy: np.ndarray, w: np.ndarray, kept: Any, dx: np.ndarray, db: Gradient | None, name: str) -> None:
    """Write dx = (dy w^T) f'(z) and put db, as ``linear_dx_relu`` does, where x = f(z) came from ``linear_gelu``."""
    linear_dx(dy, w, dx)
    linear_gelu_dx(dx, kept, name)
    _put_sum(dx, db)


def _put_sum(dx: np.ndarray, db: Gradient | None) -> None:
    if db is not None:
        column_sum(dx, db.array, db.accumulate)
        db.written()
