"""Logistic function."""

import numpy as np

from .. import ops
from ..saved import Saved
from .base import Layer


class Sigmoid(Layer):
    """y = 1 / (1 + exp(-x)), any shape; dx = dy y (1 - y), written over dy."""

    def forward(self, x: np.ndarray, saved: Saved) -> np.ndarray:
        """Return 1 / (1 + exp(-x))."""
        y = saved[self] = saved.empty(self, "y", x.shape)
        ops.sigmoid(x, y)
        return y

    def backward(self, dy: np.ndarray, saved: Saved) -> np.ndarray:
        """Return dy y (1 - y)."""
        ops.sigmoid_dx(saved[self], dy, dy, saved.scratch("slope", dy.shape))
        return dy
