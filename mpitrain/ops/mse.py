"""Squared error: loss = sum (y - t)^2.

Shapes: y, t, difference alike, any; ``difference`` is C-contiguous.
"""

import numpy as np


def squared_error(y: np.ndarray, t: np.ndarray, difference: np.ndarray) -> float:
    """Return the sum of squares; write y - t to ``difference``."""
    np.subtract(y, t, out=difference)
    flat = difference.reshape(-1)
    return float(np.dot(flat, flat))


def squared_error_dx(difference: np.ndarray) -> None:
    """Turn ``difference`` into the gradient 2 (y - t)."""
    np.multiply(difference, 2, out=difference)
