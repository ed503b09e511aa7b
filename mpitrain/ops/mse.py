"""Squared error: loss = sum (y - t)^2.

Shapes: y, t, difference alike, any; ``difference`` is C-contiguous.
"""

from typing import Any

import numpy as np

from .dispatch import op


@op
def squared_error(y: np.ndarray, t: np.ndarray, difference: np.ndarray, sums: np.ndarray) -> Any:
    """Return (number of elements, sum of squares, 0); write y - t to ``difference``.

    A GPU's sums stay there, as an array (3,): in ``sums`` (parts + 1, 3), which is scratch.
    """
    np.subtract(y, t, out=difference)
    flat = difference.reshape(-1)
    return float(flat.size), float(np.dot(flat, flat)), 0.0


@op
def squared_error_dx(difference: np.ndarray) -> None:
    """Turn ``difference`` into the gradient 2 (y - t)."""
    np.multiply(difference, 2, out=difference)
