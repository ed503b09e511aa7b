"""Layer normalization."""

import math

import numpy as np

from ..context import Context
from ..ops.layernorm import layernorm, layernorm_backward
from ..parameter import Parameter
from . import init
from .base import Layer, gradient_of


class LayerNorm(Layer):
    """y = w (x - mean) / sqrt(var + eps) + b over the last dimension (Ba, Kiros and Hinton 2016, arXiv 1607.06450).

    Parameters
    ----------
    size : int
        C, the last dimension.
    eps : float

    Notes
    -----
    x and y are (..., C); each row is normalized alone, so no statistics are kept and none are shared.
    With g = w dy, z the normalized x and means over the last dimension, dx = r (g - mean(g) - z mean(g z)).
    """

    def __init__(self, size: int, eps: float = 1e-5):
        self.size, self.eps = size, eps
        self.weight = Parameter((size,), init.ones, decay=False)
        self.bias = Parameter((size,), init.zeros, decay=False)

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the normalized rows, scaled and shifted."""
        num_rows = math.prod(x.shape[:-1])
        z = ctx.empty(self, "z", (num_rows, self.size))
        r = ctx.empty(self, "r", (num_rows, 1), ctx.sum_dtype)
        y: np.ndarray = ctx.lend(self, "y", x.shape)
        layernorm(x.reshape(z.shape), self.weight.data, self.bias.data, self.eps, z, r, y.reshape(z.shape))
        ctx[self] = z, r
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write dw and db, return dx.

        Nothing is put off (``Context.later``): one pass computes all three.
        """
        z, r = ctx[self]
        rows = dy.reshape(z.shape)
        dx: np.ndarray = ctx.backward.lend(self, "dx", dy.shape)
        gradients = gradient_of(self.weight), gradient_of(self.bias)
        layernorm_backward(rows, z, r, self.weight.data, *gradients, dx.reshape(z.shape))
        return dx
