"""Pooling over images: the largest or the mean value under each window, and the mean over all pixels."""

import numpy as np

from ..context import Context
from ..errors import UserError
from ..ops import pool
from ..ops.window import Pair, Window, pair
from .base import Layer


class _Pool2d(Layer):
    """A pool with a window; parameters as in ``MaxPool2d``.

    Raises
    ------
    UserError
        If the padding is more than half the kernel, so that a window could cover nothing but padding.
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
    ):
        kernel, padded = pair(kernel_size, "kernel_size"), pair(padding, "padding", least=0)
        if 2 * padded[0] > kernel[0] or 2 * padded[1] > kernel[1]:
            raise UserError(f"a pool's padding must be at most half its kernel size, not {padding} for {kernel_size}")
        steps = kernel if stride is None else pair(stride, "stride")
        self.window = Window(kernel, steps, padded, ceil=ceil_mode)

    def _y(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        n, height, width, channels = x.shape
        y: np.ndarray = ctx.lend(self, "y", (n, *self.window.output((height, width)), channels))
        return y


class MaxPool2d(_Pool2d):
    """The largest value under each window.

    Parameters
    ----------
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        The kernel size by default.
    padding : int or (int, int)
        At most half the kernel size; padded pixels do not count.
    ceil_mode : bool
        The last pixels of an image get a window of their own, which reaches beyond its end, where they fill none.

    Notes
    -----
    x is (N, H, W, C), y (N, OH, OW, C), OH = (H + 2 padding - KH) // stride + 1: pixels that fill no window are left
    out. With ``ceil_mode`` the division is rounded up, but for a window that would begin behind the image: Caffe's
    pools, as GoogLeNet has them. The gradient goes to the first of equal maxima, in the order of rows and columns (as
    in PyTorch).
    """

    def forward(self, x: np.ndarray, ctx: Context, relu: bool = False) -> np.ndarray:
        """Return the maxima; with ``relu``, the larger of the maximum and 0."""
        y = self._y(x, ctx)
        if not ctx.training:
            pool.max_pool(x, self.window, y, relu)
            return y
        num_taps = self.window.kernel[0] * self.window.kernel[1]  # as a tap's number it means: no tap
        argmax = ctx.empty(self, "argmax", y.shape, np.min_scalar_type(num_taps))
        pool.max_pool_argmax(x, self.window, y, argmax, relu)
        ctx[self] = argmax, x.shape
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return dx."""
        argmax, shape = ctx[self]
        dx: np.ndarray = ctx.backward.lend(self, "dx", shape)
        pool.max_pool_dx(argmax, dy, self.window, dx)
        return dx


class AvgPool2d(_Pool2d):
    """The mean under each window.

    Parameters
    ----------
    kernel_size, stride, padding
        See ``MaxPool2d``.
    count_include_pad : bool
        Padded zeros count as pixels (as in PyTorch, by default); otherwise the mean is over those of the image.

    Notes
    -----
    x is (N, H, W, C), y (N, OH, OW, C), OH = (H + 2 padding - KH) // stride + 1. Every pixel of a window gets
    dy / (KH KW), or dy divided by the number of those that count.
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        count_include_pad: bool = True,
    ):
        super().__init__(kernel_size, stride, padding)
        self.count_include_pad = count_include_pad or self.window.padding == (0, 0)

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the means."""
        ctx[self] = x.shape
        y = self._y(x, ctx)
        pool.mean_pool(x, self.window, y)
        if not self.count_include_pad:
            pool.scale_by_pixels(y, self.window, (x.shape[1], x.shape[2]))
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return dx."""
        shape = ctx[self]
        if not self.count_include_pad:
            pool.scale_by_pixels(dy, self.window, shape[1:3])
        dx: np.ndarray = ctx.backward.lend(self, "dx", shape)
        pool.mean_pool_dx(dy, self.window, dx)
        return dx


class GlobalAvgPool(Layer):
    """y[n, c] = mean of x[n, :, :, c] (Lin et al. 2013, "Network in network", arXiv 1312.4400).

    Notes
    -----
    x is (N, H, W, C), y (N, C); dx = dy / (H W) at each pixel.
    """

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the means."""
        ctx[self] = x.shape
        y: np.ndarray = ctx.lend(self, "y", (x.shape[0], x.shape[3]))
        pool.global_mean(x, y)
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return dx."""
        dx: np.ndarray = ctx.backward.lend(self, "dx", ctx[self])
        pool.global_mean_dx(dy, dx)
        return dx
