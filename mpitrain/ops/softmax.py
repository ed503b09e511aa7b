"""Softmax of rows: y = exp(x - max) / sum (Bridle 1990; the shift keeps exp in range).

Shapes: all (M, K), C-contiguous. Any M, also 0.
"""

import numpy as np

from .dispatch import op


@op
def softmax(x: np.ndarray, y: np.ndarray) -> None:
    """Write y, which may be x itself."""
    np.subtract(x, x.max(axis=1, keepdims=True), out=y)
    np.exp(y, out=y)
    np.divide(y, y.sum(axis=1, keepdims=True), out=y)


@op
def softmax_dx(y: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> None:
    """Write dx = y (dy - sum of y dy over the row); dx may be dy itself."""
    np.subtract(dy, np.einsum("mk,mk->m", y, dy)[:, None], out=dx)
    np.multiply(dx, y, out=dx)
