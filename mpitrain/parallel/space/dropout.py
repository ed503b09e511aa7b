"""Dropout of images whose rows are divided among ranks."""

from typing import Any

from ...context import Context
from ...layers import Dropout, Layer
from ...ops.dropout import dropout_mask
from ...ops.elementwise import multiply


class RowsDropout(Layer):
    """y = x mask / (1 - p), where the mask is this rank's rows of that of whole images.

    Parameters
    ----------
    dropout : Dropout
    rows : slice
        Rows of this rank.
    height : int
        Rows of whole images.

    Notes
    -----
    x and y (N, H_r, W, C). The mask of a whole image is drawn for one image after another, so it takes the time that it
    takes on one rank.
    """

    def __init__(self, dropout: Dropout, rows: slice, height: int):
        self.dropout, self._rows, self._height = dropout, rows, height

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return x mask / (1 - p), or x itself where nothing is dropped."""
        p = self.dropout.p
        if not ctx.training or not p:
            ctx[self] = None
            return x
        mask = ctx[self] = ctx.empty(self, "mask", x.shape)
        whole = ctx.lend(self, "whole", (self._height, *x.shape[2:]))
        for i in range(len(x)):
            dropout_mask(whole.reshape(1, whole.size), p, (ctx.seed, self.dropout.number, ctx.step, ctx.first + i))
            mask[i] = whole[self._rows]
        y = ctx.lend(self, "y", x.shape)
        multiply(x, mask, y)
        return y

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return dy mask / (1 - p), written over dy."""
        mask = ctx[self]
        if mask is not None:
            multiply(dy, mask, dy)
        return dy
