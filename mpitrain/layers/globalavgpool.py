"""Mean over all pixels: from images to one vector a sample."""

import numpy as np

from .. import ops
from ..saved import Saved
from .base import Layer


class GlobalAvgPool(Layer):
    """y[n, c] = mean of x[n, :, :, c] (Lin et al. 2013, "Network in network", arXiv 1312.4400).

    Notes
    -----
    x is (N, H, W, C), y (N, C); dx = dy / (H W) at each pixel.
    """

    def forward(self, x: np.ndarray, saved: Saved) -> np.ndarray:
        """Return the means."""
        saved[self] = x.shape
        y = saved.empty(self, "y", (x.shape[0], x.shape[3]))
        ops.global_mean(x, y)
        return y

    def backward(self, dy: np.ndarray, saved: Saved) -> np.ndarray:
        """Return dx."""
        dx = saved.empty(self, "dx", saved[self])
        ops.global_mean_dx(dy, dx)
        return dx
