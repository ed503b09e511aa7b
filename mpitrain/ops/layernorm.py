"""Layer normalization: y = w z + b, z = (x - mean) r, r = 1 / sqrt(var + eps), mean and variance of each row.

Shapes: x, y, z, dy, dx (M, C), C-contiguous; w, b, dw, db (C,); r (M, 1). Any M, also 0.

``add_layernorm`` normalizes the sum of a residual connection, and ``add_layernorm_backward`` adds the gradient that
goes around the normalization to the one that goes through it: one pass each on a GPU.
"""

from typing import Any

import numpy as np

from .dispatch import op
from .elementwise import add
from .gradient import Gradient
from .workspace import Keep, constant


@op
def add_layernorm(
    x: np.ndarray,
    residual: np.ndarray | None,
    w: np.ndarray,
    b: np.ndarray,
    eps: float,
    s: np.ndarray,
    y: np.ndarray,
    keep: Keep,
) -> Any:
    """Write s = x + residual and y = layernorm(s), and return what backward needs; s is x where ``residual`` is None.

    On a GPU that is s itself: it must last.
    """
    if residual is not None:
        add(x, residual, s)
    z, r = keep("z", s.shape), keep("r", (len(s), 1), w.dtype)
    layernorm(s, w, b, eps, z, r, y)
    return z, r


@op
def add_layernorm_backward(
    dy: np.ndarray,
    kept: Any,
    w: np.ndarray,
    dw: Gradient,
    db: Gradient,
    residual: np.ndarray | None,
    dx: np.ndarray,
) -> None:
    """Put dw and db, and write the gradient over s, plus ``residual`` if given, to dx; ``dy`` is overwritten."""
    z, r = kept
    layernorm_backward(dy, z, r, w, dw, db, dx)
    if residual is not None:
        add(dx, residual, dx)


@op
def layernorm(
    x: np.ndarray, w: np.ndarray, b: np.ndarray, eps: float, z: np.ndarray, r: np.ndarray, y: np.ndarray
) -> None:
    """Write y, and z and r for backward."""
    average = constant((x.shape[1], 1), 1 / x.shape[1], x)
    np.subtract(x, x @ average, out=z)
    np.einsum("mc,mc->m", z, z, out=r[:, 0])
    np.divide(r, x.shape[1], out=r)
    np.add(r, eps, out=r)
    np.sqrt(r, out=r)
    np.divide(1, r, out=r)
    np.multiply(z, r, out=z)
    np.multiply(z, w, out=y)
    np.add(y, b, out=y)


@op
def layernorm_dw(dy: np.ndarray, z: np.ndarray, sums: np.ndarray) -> None:
    """Write ``sums`` (2, C): dw = sum of dy z and db = sum of dy over rows."""
    np.einsum("mc,mc->c", dy, z, out=sums[0])
    np.matmul(constant((len(dy),), 1, dy), dy, out=sums[1])


@op
def layernorm_gradients(dy: np.ndarray, z: np.ndarray, dw: Gradient, db: Gradient) -> None:
    """Put dw and db."""
    sums = np.empty((2, dy.shape[1]), dy.dtype, like=dy)
    layernorm_dw(dy, z, sums)
    db.put(sums[1])
    dw.put(sums[0])


@op
def layernorm_backward(
    dy: np.ndarray, z: np.ndarray, r: np.ndarray, w: np.ndarray, dw: Gradient, db: Gradient, dx: np.ndarray
) -> None:
    """Put dw and db, and write dx; ``dy`` is overwritten. In C this is one pass over dy and z."""
    layernorm_gradients(dy, z, dw, db)
    layernorm_dx(dy, z, r, w, dx)


@op
def layernorm_dx(dy: np.ndarray, z: np.ndarray, r: np.ndarray, w: np.ndarray, dx: np.ndarray) -> None:
    """Write dx = r (g - mean(g) - z mean(g z)) with g = w dy and means over the row; ``dy`` is overwritten."""
    num_columns = dy.shape[1]
    g = np.multiply(dy, w, out=dy)
    average = constant((num_columns, 1), 1 / num_columns, dy)
    np.multiply(z, np.einsum("mc,mc->m", g, z)[:, None] / num_columns, out=dx)
    np.subtract(g, dx, out=dx)
    np.subtract(dx, g @ average, out=dx)
    np.multiply(dx, r, out=dx)
