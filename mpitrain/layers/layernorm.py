"""Layer normalisation."""

import math

import numpy as np

from .. import ops
from ..arena import Parameter
from ..saved import Saved
from . import init
from .base import Layer
from .gradient import gradient_of


class LayerNorm(Layer):
    """y = w (x - mean) / sqrt(var + eps) + b over the last dimension (Ba, Kiros and Hinton 2016, arXiv 1607.06450).

    Parameters
    ----------
    size : int
        C, of the last dimension.
    eps : float

    Notes
    -----
    x is (..., C), y alike; each sample is normalised alone, so no statistics are kept and none are shared.
    With g = w dy, z the normalised x and means over the last dimension, dx = r (g - mean(g) - z mean(g z)).
    """

    def __init__(self, size: int, eps: float = 1e-5):
        self.size, self.eps = size, eps
        self.weight = Parameter((size,), init.ones, decay=False)
        self.bias = Parameter((size,), init.zeros, decay=False)

    def forward(self, x: np.ndarray, saved: Saved) -> np.ndarray:
        """Return the normalised rows, scaled and shifted."""
        num_rows = math.prod(x.shape[:-1])
        z = saved.empty(self, "z", (num_rows, self.size))
        r = saved.empty(self, "r", (num_rows, 1))
        y = saved.empty(self, "y", x.shape)
        ops.layernorm(x.reshape(z.shape), self.weight.data, self.bias.data, self.eps, z, r, y.reshape(z.shape))
        saved[self] = z, r
        return y

    def backward(self, dy: np.ndarray, saved: Saved) -> np.ndarray:
        """Write dw and db, return dx."""
        z, r = saved[self]
        rows = dy.reshape(z.shape)
        ops.layernorm_gradients(rows, z, gradient_of(self.weight), gradient_of(self.bias), saved.scratch)
        dx = saved.empty(self, "dx", dy.shape)
        ops.layernorm_dx(rows, z, r, self.weight.data, dx.reshape(z.shape))
        return dx
