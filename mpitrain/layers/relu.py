"""Rectified linear unit."""

import numpy as np

from .. import ops
from ..saved import Saved
from .base import Layer


class ReLU(Layer):
    """y = max(x, 0), any shape (Nair and Hinton 2010); dx = dy where y > 0, written over dy.

    Attributes
    ----------
    done : bool
        True when the layer before does it in its own pass (``fuse_activations``); then x is handed on.
    """

    done = False

    def forward(self, x: np.ndarray, saved: Saved) -> np.ndarray:
        """Return max(x, 0)."""
        if self.done:
            return x
        y = saved[self] = saved.empty(self, "y", x.shape)
        ops.relu(x, y)
        return y

    def backward(self, dy: np.ndarray, saved: Saved) -> np.ndarray:
        """Return dy where y > 0 and 0 elsewhere."""
        if self.done:
            return dy
        ops.relu_dx(saved[self], dy, dy, saved.scratch("mask", dy.shape, bool))
        return dy
