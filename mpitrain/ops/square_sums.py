"""Sums of squares in parts, for a norm that is finished elsewhere.

Shapes: x (n,); parts (p,) of any p. Which elements belong to which part is up to the path.
"""

import numpy as np

from .dispatch import op


@op
def square_sums(x: np.ndarray, parts: np.ndarray) -> None:
    """Write to ``parts`` numbers whose sum is sum x^2."""
    parts.fill(0)
    parts[0] = np.multiply(x, x).sum()
