"""Max pooling over images."""

import numpy as np

from .. import ops
from ..ops.window import Pair, interior, pad
from ..saved import Saved
from .avgpool2d import pool_window
from .base import Layer


class MaxPool2d(Layer):
    """The largest value under each window.

    Parameters
    ----------
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        The kernel size if not given.
    padding : int or (int, int)
        At most half the kernel size; padded pixels never win.

    Attributes
    ----------
    relu : bool
        Whether y = max(x, 0) of the maxima is part of it (``fuse_activations``).

    Notes
    -----
    x is (N, H, W, C), y (N, OH, OW, C), OH = (H + 2 padding - KH) // stride + 1: pixels that fill no window are left
    out. The gradient goes to the first of equal maxima, in the order of rows and columns (as PyTorch does).
    """

    relu = False

    def __init__(self, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0):
        self.window = pool_window(kernel_size, stride, padding)
        self.winner_dtype = np.min_scalar_type(self.window.kernel[0] * self.window.kernel[1])  # that many: none has won

    def forward(self, x: np.ndarray, saved: Saved) -> np.ndarray:
        """Return the maxima."""
        n, height, width, channels = x.shape
        y = saved.empty(self, "y", (n, *self.window.output((height, width)), channels))
        padded = x
        if self.window.padding != (0, 0):
            padded = saved.scratch("padded", (n, *self.window.padded((height, width)), channels))
            padded.fill(-np.inf)
            pad(x, self.window.padding, padded)
        if saved.training:
            winner = saved.empty(self, "winner", y.shape, self.winner_dtype)
            number = saved.scratch("number", y.shape, self.winner_dtype)
            ops.max_pool_winner(padded, self.window, y, winner, saved.scratch("pixels", y.shape), number, self.relu)
            saved[self] = winner, x.shape
        else:
            ops.max_pool(padded, self.window, y, self.relu)
        return y

    def backward(self, dy: np.ndarray, saved: Saved) -> np.ndarray:
        """Return dx."""
        winner, (n, height, width, channels) = saved[self]
        part = saved.scratch("pixels", dy.shape)
        dx = saved.empty(self, "dx", (n, height, width, channels))
        if self.window.padding == (0, 0):
            ops.max_pool_dx(winner, dy, self.window, dx, part)
            return dx
        padded = saved.scratch("padded", (n, *self.window.padded((height, width)), channels))
        ops.max_pool_dx(winner, dy, self.window, padded, part)
        np.copyto(dx, interior(padded, self.window.padding))
        return dx
