"""A layer with a way around it."""

import numpy as np

from .. import ops
from ..saved import Saved
from .base import Layer


class Residual(Layer):
    """y = activation(body(x) + shortcut(x)) (He et al. 2015, arXiv 1512.03385).

    Parameters
    ----------
    body : Layer
    shortcut : Layer, optional
        The identity if not given.
    activation : Layer, optional
        After the sum; the identity if not given.

    Attributes
    ----------
    relu : bool
        Whether the activation is a ReLU that is done in the same pass as the sum (``fuse_activations``).

    Notes
    -----
    dx is the sum of both branches' dx; each gets its own copy of dy, since a backward may overwrite it.
    """

    def __init__(self, body: Layer, shortcut: Layer | None = None, activation: Layer | None = None):
        self.body, self.shortcut, self.activation = body, shortcut, activation
        self.relu = False

    def forward(self, x: np.ndarray, saved: Saved) -> np.ndarray:
        """Return the sum of both branches, activated."""
        body = self.body.forward(x, saved)
        around = x if self.shortcut is None else self.shortcut.forward(x, saved)
        y = saved[self] = saved.empty(self, "y", body.shape)
        if self.relu:
            ops.add_relu(body, around, y)
            return y
        ops.add(body, around, y)
        return y if self.activation is None else self.activation.forward(y, saved)

    def backward(self, dy: np.ndarray, saved: Saved) -> np.ndarray:
        """Return the sum of both branches' dx."""
        copy = saved.empty(self, "dy", dy.shape)
        if self.relu:
            ops.add_relu_dx(saved[self], dy, copy)
        else:
            dy = dy if self.activation is None else self.activation.backward(dy, saved)
            np.copyto(copy, dy)
        around = dy if self.shortcut is None else self.shortcut.backward(dy, saved)
        dx = self.body.backward(copy, saved)
        ops.add(dx, around, dx)
        return dx
