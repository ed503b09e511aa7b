"""Products of all pairs of vectors of a sample.

Shapes: n samples of K vectors with D numbers; v, dv (n, K, D); p, dp (n, K, K).
"""

import numpy as np

from .dispatch import op


@op
def pair_products(v: np.ndarray, p: np.ndarray) -> None:
    """Write p = v v^T."""
    np.matmul(v, v.swapaxes(1, 2), out=p)


@op
def pair_products_dv(dp: np.ndarray, v: np.ndarray, dv: np.ndarray) -> None:
    """Write dv = dp v, for a symmetric dp."""
    np.matmul(dp, v, out=dv)
