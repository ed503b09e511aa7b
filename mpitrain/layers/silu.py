"""Sigmoid-weighted linear unit."""

import numpy as np

from .. import ops
from ..saved import Saved
from .base import Layer


class SiLU(Layer):
    """y = x s with s = sigmoid(x), any shape (Elfwing et al. 2017, arXiv 1702.03118; also called swish).

    Forward keeps s and y; dx = dy (s + y (1 - s)), written over dy.
    """

    def forward(self, x: np.ndarray, saved: Saved) -> np.ndarray:
        """Return x sigmoid(x)."""
        s, y = saved.empty(self, "s", x.shape), saved.empty(self, "y", x.shape)
        saved[self] = s, y
        ops.silu(x, s, y)
        return y

    def backward(self, dy: np.ndarray, saved: Saved) -> np.ndarray:
        """Return dy (s + y (1 - s))."""
        s, y = saved[self]
        ops.silu_dx(s, y, dy, dy, saved.scratch("slope", dy.shape))
        return dy
