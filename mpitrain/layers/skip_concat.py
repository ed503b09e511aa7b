"""Shortcut around layers, whose channels are put beside theirs."""

import numpy as np

from ..context import Context
from ..ops.elementwise import add
from .base import Layer, empty_gradient


class SkipConcat(Layer):
    """y = (x, inner(x)): the channels of x, then those of ``inner(x)``, on the pixels of x.

    Parameters
    ----------
    inner : Layer
        Another SkipConcat in it, between layers that make images smaller and larger again, makes a U-Net.

    Notes
    -----
    x is (N, H, W, C), inner(x) (N, H', W', D), y (N, H, W, C + D) (Ronneberger et al. 2015, arXiv 1505.04597). Both
    begin at the same corner. Halving and doubling an odd size loses a row: where inner(x) has none, y is 0, and what
    inner(x) has beyond H or W is left out. dx is dy of the first C channels, plus dx of ``inner``.
    """

    def __init__(self, inner: Layer):
        self.inner = inner

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return x and inner(x), side by side."""
        deep = self.inner.forward(x, ctx)
        n, height, width, channels = x.shape
        rows, columns = min(height, deep.shape[1]), min(width, deep.shape[2])
        y: np.ndarray = ctx.lend(self, "y", (n, height, width, channels + deep.shape[3]))
        y[..., :channels] = x
        y[:, :rows, :columns, channels:] = deep[:, :rows, :columns]
        y[:, rows:, :, channels:] = 0
        y[:, :rows, columns:, channels:] = 0
        ctx[self] = channels, deep.shape
        return y

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this and of ``inner``."""
        self.needs_dx = needed
        self.inner.ask_dx(needed)

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return dx, of the shortcut and of ``inner``."""
        channels, shape = ctx[self]
        if not self.needs_dx and not self.inner.trains:
            return empty_gradient(dy)
        deep: np.ndarray = ctx.backward.lend(self, "deep", shape)
        rows, columns = min(shape[1], dy.shape[1]), min(shape[2], dy.shape[2])
        deep[:, :rows, :columns] = dy[:, :rows, :columns, channels:]
        deep[:, rows:] = 0
        deep[:, :rows, columns:] = 0
        dx = self.inner.backward(deep, ctx)
        if not self.needs_dx:
            return empty_gradient(dy)
        shortcut: np.ndarray = ctx.backward.lend(self, "shortcut", (*dy.shape[:3], channels))
        shortcut[...] = dy[..., :channels]
        add(dx, shortcut, dx)
        return dx
