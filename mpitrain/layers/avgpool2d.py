"""Average pooling over images."""

import numpy as np

from .. import ops
from ..errors import UserError
from ..ops.window import Pair, Window, interior, pad, pair
from ..saved import Saved
from .base import Layer


class AvgPool2d(Layer):
    """The mean under each window; padded zeros count as pixels (PyTorch's count_include_pad).

    Parameters
    ----------
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        The kernel size if not given.
    padding : int or (int, int)
        At most half the kernel size.

    Notes
    -----
    x is (N, H, W, C), y (N, OH, OW, C), OH = (H + 2 padding - KH) // stride + 1. Every pixel of a window gets
    dy / (KH KW).
    """

    def __init__(self, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0):
        self.window = pool_window(kernel_size, stride, padding)

    def forward(self, x: np.ndarray, saved: Saved) -> np.ndarray:
        """Return the means."""
        n, height, width, channels = x.shape
        saved[self] = x.shape
        y = saved.empty(self, "y", (n, *self.window.output((height, width)), channels))
        padded = x
        if self.window.padding != (0, 0):
            padded = saved.scratch("padded", (n, *self.window.padded((height, width)), channels))
            padded.fill(0)
            pad(x, self.window.padding, padded)
        ops.mean_pool(padded, self.window, y)
        return y

    def backward(self, dy: np.ndarray, saved: Saved) -> np.ndarray:
        """Return dx."""
        n, height, width, channels = shape = saved[self]
        dx = saved.empty(self, "dx", shape)
        if self.window.padding == (0, 0):
            ops.mean_pool_dx(dy, self.window, dx)
            return dx
        padded = saved.scratch("padded", (n, *self.window.padded((height, width)), channels))
        ops.mean_pool_dx(dy, self.window, padded)
        np.copyto(dx, interior(padded, self.window.padding))
        return dx


def pool_window(kernel_size: int | Pair, stride: int | Pair | None, padding: int | Pair) -> Window:
    """Return the window of a pool.

    Raises
    ------
    UserError
        If the padding is more than half the kernel, so that a window could see nothing but padding.
    """
    kernel, padded = pair(kernel_size, "kernel_size"), pair(padding, "padding", least=0)
    if 2 * padded[0] > kernel[0] or 2 * padded[1] > kernel[1]:
        raise UserError(f"a pool's padding must be at most half its kernel size, not {padding} for {kernel_size}")
    return Window(kernel, kernel if stride is None else pair(stride, "stride"), padded)
