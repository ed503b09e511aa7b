"""The part of a convolution's border rows that comes from the rows of other ranks.

Legend: a slab (N, S, W, C) has the received rows in their places and zeros in the others, so that a convolution of it
with the taps that reach beyond the own rows is all that is missing in some first or last rows of y.
"""

from dataclasses import replace
from typing import Any

from ...context import Context
from ...device import Buffers
from ...layers import Conv2d
from ...ops.conv2d import Conv2dPlan, conv2d, conv2d_dw, conv2d_dx, plan_conv2d
from ..moves.halo import Rows
from .geometry import Geometry


class Edge:
    """The rows above the own ones, or those below, and the rows of y that they reach.

    Parameters
    ----------
    geometry : Geometry
    taps : slice
        Rows of the kernel that reach beyond the own rows of x.
    outputs : slice
        Rows of this rank's y that these taps compute, counted from its first.

    Attributes
    ----------
    first, num_rows : int
        First row of the slab, by its number in whole images, and the number of rows.
    """

    def __init__(self, geometry: Geometry, taps: slice, outputs: slice):
        window = geometry.window
        self.taps, self.outputs = taps, outputs
        self.window = replace(window, kernel=(taps.stop - taps.start, window.kernel[1]), padding=(0, window.padding[1]))
        self.first = (
            geometry.own.start - geometry.top + outputs.start * window.stride[0] + taps.start * window.dilation[0]
        )
        self._planned: tuple[tuple[int, int], Conv2dPlan] | None = None
        self.num_rows = (outputs.stop - outputs.start - 1) * window.stride[0] + self.window.extent(0)

    @classmethod
    def above(cls, geometry: Geometry) -> "Edge | None":
        """Return that of the rows above; None if no output needs any."""
        (stride, _), (dilation, _) = geometry.window.stride, geometry.window.dilation
        if geometry.above[0] >= geometry.above[1]:
            return None
        outputs = min(geometry.num_outputs, -(-geometry.top // stride))
        taps = min(geometry.window.kernel[0], -(-geometry.top // dilation))
        return cls(geometry, slice(0, taps), slice(0, outputs))

    @classmethod
    def below(cls, geometry: Geometry) -> "Edge | None":
        """Return that of the rows below; None if no output needs any."""
        window, beyond = geometry.window, geometry.num_rows + geometry.top
        stride, dilation = window.stride[0], window.dilation[0]
        first = max(0, -(-(beyond - window.extent(0) + 1) // stride))
        if geometry.below[0] >= geometry.below[1]:
            return None
        tap = max(0, -(-(beyond - (geometry.num_outputs - 1) * stride) // dilation))
        return cls(geometry, slice(tap, window.kernel[0]), slice(first, geometry.num_outputs))

    def covers(self, first: int, stop: int) -> bool:
        """Return whether the slab has all of these rows; strides and dilations may leave out some that are sent."""
        return bool(self.first <= first and stop <= self.first + self.num_rows)

    def lend_slab(self, x: Any, buffers: Buffers, name: str = "slab") -> Any:
        """Return memory for a slab beside ``x``."""
        return buffers.lend(self, name, (len(x), self.num_rows, *x.shape[2:]), x.dtype)

    def part(self, slab: Any, rows: Rows) -> Any:
        """Return some rows of a slab, by their numbers in whole images."""
        return slab[:, rows[0] - self.first : rows[1] - self.first]

    def add(self, slab: Any, conv: Conv2d, y: Any, ctx: Context) -> None:
        """Add what the slab gives to ``y``."""
        part = y[:, self.outputs]
        added = ctx.lend(self, "y", part.shape, y.dtype)
        conv2d(slab, conv.weight.data[self.taps], None, added, self._plan(slab, conv))
        part += added

    def take(self, dy: Any, buffers: Buffers) -> Any:
        """Return a copy of the rows of ``dy`` that the slab has a part in."""
        rows = dy[:, self.outputs]
        copy = buffers.lend(self, "dy", rows.shape, dy.dtype)
        copy[...] = rows
        return copy

    def dx(self, dy: Any, like: Any, conv: Conv2d, buffers: Buffers) -> Any:
        """Return the gradient of the slab, given ``take(dy)``."""
        dx = self.lend_slab(like, buffers, "dx")
        conv2d_dx(dy, conv.weight.data[self.taps], dx, self._plan(dx, conv))
        return dx

    def add_dw(self, slab: Any, dy: Any, conv: Conv2d) -> None:
        """Add the slab's part to the gradient of the weights."""
        conv2d_dw(slab, dy, conv.weight.grad[self.taps], self._plan(slab, conv), True)

    def _plan(self, slab: Any, conv: Conv2d) -> Conv2dPlan:
        size = slab.shape[1:3]
        if self._planned is None or self._planned[0] != size:
            self._planned = size, plan_conv2d(self.window, size, conv.groups, conv.in_channels, conv.out_channels)
        return self._planned[1]
