"""Root mean square normalization."""

import math

import numpy as np

from ..context import Context
from ..ops.rmsnorm import rmsnorm, rmsnorm_backward
from ..parameter import Parameter
from . import init
from .base import Layer, gradient_of


class RMSNorm(Layer):
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

    def __init__(self, size: int, eps: float = 1e-5):
        self.size, self.eps = size, eps
        self.weight = Parameter((size,), init.ones, decay=False)

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the normalized rows, scaled."""
        rows = x.reshape(math.prod(x.shape[:-1]), self.size)
        r = ctx.empty(self, "r", (len(rows), 1), ctx.sum_dtype)
        y: np.ndarray = ctx.lend(self, "y", x.shape)
        rmsnorm(rows, self.weight.data, self.eps, r, y.reshape(rows.shape))
        ctx[self] = rows, r
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write dw, return dx. Nothing is put off (``Context.later``): one pass computes both."""
        x, r = ctx[self]
        rows = dy.reshape(x.shape)
        rmsnorm_backward(rows, x, r, self.weight.data, gradient_of(self.weight), rows)
        return dy
