"""Transposed convolution of images whose rows are divided among ranks."""

import copy
from dataclasses import replace
from typing import Any

from ...comm.group import Group
from ...context import Context
from ...layers import ConvTranspose2d, Layer
from ...layers.base import empty_gradient
from ..moves import Halo
from ..moves.halo import Rows
from ..moves.move import slices_of
from ..tensor.divided import Divided
from .geometry import Size
from .windows import Rowless


def divide_transposed(layer: ConvTranspose2d, group: Group, size: Size) -> Layer:
    """Return the layer for this rank's rows of images of ``size``.

    Row i of x reaches the rows i s - p to i s - p + KH of y. Each rank takes the rows of x that reach its rows of y,
    and cuts off what they give beyond these. Where that is nothing, as for even heights and a kernel as long as its
    stride, the layer stays as it is.
    """
    outputs = slices_of(layer.output(size)[0], group.size)
    own = slices_of(size.height, group.size)[group.rank]
    rows = [_rows_of(layer, part, size.height) for part in outputs]
    halo, (first, stop), mine = Halo(group, 1, size.height, rows=rows), rows[group.rank], outputs[group.rank]
    local = copy.copy(layer)
    local.window = replace(layer.window, padding=(0, layer.window.padding[1]))
    local._plans = {}
    if mine.start == mine.stop:
        return Divided(halo, Rowless(local, 1))
    begin = first * layer.window.stride[0] - layer.window.padding[0]  # of local y among all rows of y
    num_rows = (stop - first - 1) * layer.window.stride[0] + layer.window.kernel[0]
    whole = (begin, begin + num_rows) == (mine.start, mine.stop)
    moves = [] if halo.is_local and (first, stop) == (own.start, own.stop) else [halo]
    cut = [] if whole else [Crop(slice(mine.start - begin, mine.stop - begin))]
    return Divided(*moves, local, *cut)


def _rows_of(layer: ConvTranspose2d, outputs: slice, height: int) -> Rows:
    """Return the rows of x that give at least the rows ``outputs`` of y."""
    kernel, stride, padding = (pair[0] for pair in (layer.window.kernel, layer.window.stride, layer.window.padding))
    first = max(0, min(-(-(outputs.start + padding - kernel + 1) // stride), (outputs.start + padding) // stride))
    if outputs.start == outputs.stop:
        return first, first
    last = max((outputs.stop - 1 + padding) // stride, -(-(outputs.stop + padding - kernel) // stride))
    return first, min(height, last + 1)


class Crop(Layer):
    """y = some rows of x; the others get no gradient.

    Parameters
    ----------
    rows : slice
    """

    def __init__(self, rows: slice):
        self._rows = rows

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return a copy of the rows."""
        rows = x[:, self._rows]
        ctx[self] = x.shape
        y = ctx.lend(self, "y", rows.shape, x.dtype)
        y[...] = rows
        return y

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return dy with rows of zeros around it."""
        if not self.needs_dx:
            return empty_gradient(dy)
        dx = ctx.backward.lend(self, "dx", ctx[self], dy.dtype)
        dx[...] = 0
        dx[:, self._rows] = dy
        return dx
