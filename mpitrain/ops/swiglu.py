"""SwiGLU, a linear unit with a gate: y = silu(a) b, silu(a) = a s, s = sigmoid(a).

Shapes: x, dx (M, 2 C): the halves a, b of each row; y, dy (M, C); all C-contiguous. Any M, also 0.
Source: Shazeer 2020, arXiv 2002.05202.

Backward computes s again from x: da = dy b s (1 + a (1 - s)), db = dy silu(a).
"""

import numpy as np

from .dispatch import op
from .elementwise import sigmoid
from .workspace import workspace


@op
def swiglu(x: np.ndarray, y: np.ndarray) -> None:
    """Write y."""
    a, b = _halves(x)
    s = workspace(y, "gate", y.shape)
    sigmoid.numpy(a, s)
    np.multiply(a, s, out=y)
    np.multiply(y, b, out=y)


@op
def swiglu_dx(x: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> None:
    """Write dx."""
    (a, b), (da, db) = _halves(x), _halves(dx)
    s = workspace(dy, "gate", dy.shape)
    sigmoid.numpy(a, s)
    np.multiply(a, s, out=db)
    np.subtract(a, db, out=da)
    np.add(da, 1, out=da)
    np.multiply(da, s, out=da)
    np.multiply(da, b, out=da)
    np.multiply(da, dy, out=da)
    np.multiply(db, dy, out=db)


def _halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    half = x.shape[1] // 2
    return x[:, :half], x[:, half:]
