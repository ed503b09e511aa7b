"""A layer with a way around it."""

import numpy as np

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

    Notes
    -----
    dx is the sum of both branches' dx; each gets its own copy of dy, since a backward may overwrite it.
    """

    def __init__(self, body: Layer, shortcut: Layer | None = None, activation: Layer | None = None):
        self.body, self.shortcut, self.activation = body, shortcut, activation

    def forward(self, x: np.ndarray, saved: Saved) -> np.ndarray:
        """Return the sum of both branches, activated."""
        body = self.body.forward(x, saved)
        around = x if self.shortcut is None else self.shortcut.forward(x, saved)
        y = np.add(body, around, out=saved.empty(self, "y", body.shape))
        return y if self.activation is None else self.activation.forward(y, saved)

    def backward(self, dy: np.ndarray, saved: Saved) -> np.ndarray:
        """Return the sum of both branches' dx."""
        if self.activation is not None:
            dy = self.activation.backward(dy, saved)
        copy = saved.empty(self, "dy", dy.shape)
        np.copyto(copy, dy)
        around = dy if self.shortcut is None else self.shortcut.backward(dy, saved)
        dx = self.body.backward(copy, saved)
        return np.add(dx, around, out=dx)
