"""Squared error: loss = sum (y - t)^2.

Shapes: y, t, difference the same, any; ``difference`` is C-contiguous.
"""

from typing import Any

import numpy as np

from .dispatch import op


@op
def squared_error(y: np.ndarray, t: np.ndarray, difference: np.ndarray, sums: np.ndarray) -> Any:
    """Return (number of elements, sum of squares, 0); write difference = y - t.

    On a GPU the result stays there as an array (3,), stored in ``sums`` (parts + 1, 3).
    """
    np.subtract(y, t, out=difference)
    flat = difference.reshape(-1)
    return float(flat.size), float(np.dot(flat, flat)), 0.0


@op
def squared_error_dx(difference: np.ndarray) -> None:
    """Turn ``difference`` into the gradient 2 (y - t)."""
    np.multiply(difference, 2, out=difference)
