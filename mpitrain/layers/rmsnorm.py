"""Root mean square normalization."""

from typing import Any

import numpy as np

from ..context import Context
from ..ops.rmsnorm import add_rmsnorm, add_rmsnorm_backward
from ..ops.workspace import Keep
from .base import gradient_of
from .row_norm import RowNorm


class RMSNorm(RowNorm):
    """y = w x / sqrt(mean of x^2 + eps) over the last dimension (Zhang and Sennrich 2019, arXiv 1910.07467).

    Parameters
    ----------
    size : int
        C, the last dimension.
    eps : float

    Notes
    -----
    x and y are (..., C). Forward keeps x and one number a row; dx is written over dy.
    """

    def _room(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        return dy

    def _normalize(self, x: np.ndarray, residual: np.ndarray | None, s: np.ndarray, y: np.ndarray, keep: Keep) -> Any:
        return add_rmsnorm(x, residual, self.weight.data, self.eps, s, y, keep)

    def _differentiate(self, dy: np.ndarray, kept: Any, residual: np.ndarray | None, dx: np.ndarray) -> None:
        add_rmsnorm_backward(dy, kept, self.weight.data, gradient_of(self.weight), residual, dx)
