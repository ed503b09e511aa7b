"""Root mean square normalization: y = w x r, r = 1 / sqrt(mean of x^2 + eps) of each row.

Shapes: x, y, dy, dx (M, C), C-contiguous; w, dw (C,); r (M, 1). dx may be dy itself. Any M, also 0.
Source: Zhang and Sennrich 2019, arXiv 1910.07467.

``add_rmsnorm`` normalizes the sum of a residual connection, and ``add_rmsnorm_backward`` adds the gradient that goes
around the normalization to the one that goes through it: one pass each on a GPU.
"""

from typing import Any

import numpy as np

from .dispatch import op
from .elementwise import add
from .gradient import Gradient
from .workspace import Keep, workspace


@op
def add_rmsnorm(
    x: np.ndarray,
    residual: np.ndarray | None,
    w: np.ndarray,
    eps: float,
    s: np.ndarray,
    y: np.ndarray,
    keep: Keep,
) -> Any:
    """Write s = x + residual and y = rmsnorm(s), and return what backward needs, s among it, which must last.

    s is x where ``residual`` is None.
    """
    if residual is not None:
        add(x, residual, s)
    r = keep("r", (len(s), 1), w.dtype)
    rmsnorm(s, w, eps, r, y)
    return s, r


@op
def add_rmsnorm_backward(
    dy: np.ndarray, kept: Any, w: np.ndarray, dw: Gradient, residual: np.ndarray | None, dx: np.ndarray
) -> None:
    """Put dw, and write the gradient over s, plus ``residual`` if given, to dx, which may be dy."""
    s, r = kept
    rmsnorm_backward(dy, s, r, w, dw, dx)
    if residual is not None:
        add(dx, residual, dx)


@op
def rmsnorm(x: np.ndarray, w: np.ndarray, eps: float, r: np.ndarray, y: np.ndarray) -> None:
    """Write y, and r for backward."""
    np.einsum("mc,mc->m", x, x, out=r[:, 0])
    np.divide(r, x.shape[1], out=r)
    np.add(r, eps, out=r)
    np.sqrt(r, out=r)
    np.divide(1, r, out=r)
    np.multiply(x, r, out=y)
    np.multiply(y, w, out=y)


@op
def rmsnorm_backward(dy: np.ndarray, x: np.ndarray, r: np.ndarray, w: np.ndarray, dw: Gradient, dx: np.ndarray) -> None:
    """Put dw = sum of dy z over rows and write dx = r (g - z mean(g z)); z = x r, g = w dy, means are over the row."""
    z = np.multiply(x, r, out=workspace(x, "normalized", x.shape))
    dw.put(np.einsum("mc,mc->c", dy, z))
    g = np.multiply(dy, w, out=dx)
    means = np.einsum("mc,mc->m", g, z)[:, None]
    np.divide(means, x.shape[1], out=means)
    np.multiply(z, means, out=z)
    np.subtract(g, z, out=dx)
    np.multiply(dx, r, out=dx)
