"""Gaussian error linear unit."""

import numpy as np

from .. import ops
from ..saved import Saved
from .base import Layer


class GELU(Layer):
    """y = x Phi(x), Phi the distribution function of N(0, 1), any shape (Hendrycks and Gimpel 2016, arXiv 1606.08415).

    Parameters
    ----------
    approximate : bool
        Use 0.5 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) for Phi, as GPT-2 does: within 5e-4 of y.

    Attributes
    ----------
    done : bool
        True when the layer before does it in its own pass (``fuse_activations``); then x is handed on.

    Notes
    -----
    Forward keeps the slope y', so that backward is one product: dx = dy y', written over dy.
    Without ``approximate``, Phi is right to 1e-9 (see ``ops/gelu.py``).
    """

    def __init__(self, approximate: bool = False):
        self.approximate = approximate
        self.done = False

    @property
    def name(self) -> str:
        """What ops call it."""
        return "gelu_tanh" if self.approximate else "gelu"

    def forward(self, x: np.ndarray, saved: Saved) -> np.ndarray:
        """Return x Phi(x)."""
        if self.done:
            return x
        y, slope = saved.empty(self, "y", x.shape), saved.empty(self, "slope", x.shape)
        saved[self] = slope
        gelu = ops.gelu_tanh if self.approximate else ops.gelu
        gelu(x, y, slope)
        return y

    def backward(self, dy: np.ndarray, saved: Saved) -> np.ndarray:
        """Return dy y'."""
        if not self.done:
            ops.gelu_dx(saved[self], dy, dy)
        return dy
