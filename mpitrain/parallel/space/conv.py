"""Convolution of images whose rows are divided among ranks; the own rows are computed while those of others travel."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from ...context import Context
from ...layers import Conv2d, Layer
from ...layers.base import empty_gradient
from ...ops.conv2d import Conv2dPlan, conv2d_dx
from ..moves import Halo
from ..moves.halo import Rows
from .edge import Edge
from .geometry import Geometry


class HaloConv2d(Layer):
    """y = conv(own rows, zeros around them) + what the rows of other ranks add to the first and last rows of y.

    Parameters
    ----------
    conv : Conv2d
        The local layer, whose vertical padding is ``geometry.top``.
    halo : Halo
    geometry : Geometry
        Of a rank that it ``suits``.

    Notes
    -----
    x (N, H_r, W, C), y (N, OH_r, OW, O). A convolution is linear in x, so neither x nor y is copied, and x is kept for
    backward without the rows around it. Backward begins with the gradients of the rows of others and computes dx and dw
    of the own ones while they travel. dw and db are sums over this rank's pixels. Messages: (extent - stride) W C N
    elements to both neighbors together in forward, and as many in backward. Dryden et al. 2019, arXiv 1903.06681.
    """

    def __init__(self, conv: Conv2d, halo: Halo, geometry: Geometry):
        self.conv, self.halo = conv, halo
        self._first = geometry.own.start
        self._above, self._below = Edge.above(geometry), Edge.below(geometry)
        self._edges = [edge for edge in (self._above, self._below) if edge is not None]

    @staticmethod
    def suits(geometry: Geometry) -> bool:
        """Return whether the local layer with padding gives the rows of y, and the edges all that it leaves out."""
        if not geometry.fits():
            return False
        above, below = Edge.above(geometry), Edge.below(geometry)
        return (above is None or above.covers(*geometry.above)) and (below is None or below.covers(*geometry.below))

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the output rows of this rank."""
        arrive = self.halo.start_forward(x)
        y = self.conv.forward(x, ctx)
        slabs = {edge: edge.lend_slab(x, ctx) for edge in self._edges}
        for slab in slabs.values():
            slab[...] = 0
        for rows, array in arrive():
            edge = self._edge_of(rows)
            edge.part(slabs[edge], rows)[...] = array
        for edge, slab in slabs.items():
            edge.add(slab, self.conv, y, ctx)
        ctx[self] = slabs
        return y

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Write dw and db, or put them off; return dx."""
        (x, plan), slabs = ctx[self.conv], ctx[self]
        dys = {edge: edge.take(dy, ctx.backward) for edge in self._edges}
        if self.needs_dx:
            dxs = {edge: edge.dx(dys[edge], x, self.conv, ctx.backward) for edge in self._edges}
            arrive = self.halo.start_backward(x, lambda rows: self._part_of(dxs, rows))
            dx = ctx.backward.lend(self, "dx", x.shape, x.dtype)
            conv2d_dx(dy, self.conv.weight.data, dx, plan)
        put = partial(self._put_gradients, x, dy, plan, slabs, dys)
        if ctx.later is None:
            put()
        elif self.trains:
            ctx.later.append(put)
        if not self.needs_dx:
            return empty_gradient(dy)
        for (first, stop), array in arrive():
            dx[:, first - self._first : stop - self._first] += array
        return dx

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this and of the local layer."""
        self.needs_dx = self.conv.needs_dx = needed

    def running(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield this layer, since its backward does not call that of the local one."""
        yield prefix.rstrip("."), self

    def _put_gradients(self, x: Any, dy: Any, plan: Conv2dPlan, slabs: dict[Edge, Any], dys: dict[Edge, Any]) -> None:
        weight = self.conv.weight
        with weight.in_parts():
            self.conv.put_gradients(x, dy, plan)
            if not weight.frozen:
                for edge, slab in slabs.items():
                    edge.add_dw(slab, dys[edge], self.conv)
        weight.written()

    def _edge_of(self, rows: Rows) -> Edge:
        edge = self._above if rows[0] < self._first else self._below
        assert edge is not None, "rows arrive only where an output needs them"
        return edge

    def _part_of(self, slabs: dict[Edge, Any], rows: Rows) -> Any:
        edge = self._edge_of(rows)
        return edge.part(slabs[edge], rows)

    def _named(self, prefix: str, kind: type) -> Iterator[tuple[str, Any]]:
        yield from self.conv._named(prefix, kind)
