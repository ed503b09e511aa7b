"""Convolutions and pools of images whose rows are divided among ranks, as local layers and halos."""

import copy
from dataclasses import replace
from typing import Any, TypeVar

from ...comm.group import Group
from ...context import Context
from ...layers import AvgPool2d, Conv2d, Layer, MaxPool2d
from ...layers.base import empty_gradient
from ..tensor.divided import Divided
from .conv import HaloConv2d
from .geometry import Geometry, Size, make_halo

Windowed = Conv2d | MaxPool2d | AvgPool2d
W = TypeVar("W", bound=Windowed)


def divide_window(layer: Windowed, group: Group, size: Size) -> Layer:
    """Return the layer for this rank's rows of images of ``size``.

    It is a local layer alone where no rank needs rows of another. Otherwise a convolution computes while rows travel,
    if padding on both sides gives the rows of y that belong to the rank; if not, and for pools, the rows are joined to
    the own ones first. Ranks may differ in that, since their messages are the same.
    """
    fill = float("-inf") if isinstance(layer, MaxPool2d) else 0.0
    geometry, halo = Geometry.of(layer.window, size, group), make_halo(layer.window, size, group, fill)
    if geometry.fits() and halo.is_local and (geometry.top == 0 or isinstance(layer, Conv2d)):
        return _with_padding(layer, geometry.top)
    if isinstance(layer, Conv2d) and HaloConv2d.suits(geometry):
        return HaloConv2d(_with_padding(layer, geometry.top), halo, geometry)
    local: Layer = _with_padding(layer, 0)
    if not geometry.num_outputs:
        local = Rowless(local, layer.window.extent(0))
    return Divided(halo, local)


def _with_padding(layer: W, vertical: int) -> W:
    """Return the layer, with the same parameters, with another vertical padding."""
    if layer.window.padding[0] == vertical:
        return layer
    local = copy.copy(layer)
    local.window = replace(layer.window, padding=(vertical, layer.window.padding[1]))
    if isinstance(local, Conv2d):
        local._plans = {}
    return local


class Rowless(Layer):
    """A layer on a rank without rows of y: it runs on no images, so that its gradients are written as zeros.

    Parameters
    ----------
    layer : Layer
    least : int
        Rows of x that give one row of y.

    Notes
    -----
    x (N, 0, W, C), y (N, 0, OW, O).
    """

    def __init__(self, layer: Layer, least: int):
        self.layer, self._least = layer, least

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return y without rows."""
        none = ctx.lend(self, "none", (0, self._least, *x.shape[2:]), x.dtype)
        y = self.layer.forward(none, ctx)
        ctx[self] = x.shape, y.shape
        return ctx.lend(self, "y", (len(x), 0, *y.shape[2:]), y.dtype)

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Write gradients of 0, return dx without rows."""
        shape, none = ctx[self]
        self.layer.backward(ctx.backward.lend(self, "no dy", none, dy.dtype), ctx)
        return ctx.backward.lend(self, "dx", shape, dy.dtype) if self.needs_dx else empty_gradient(dy)

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this and of the layer."""
        self.needs_dx = needed
        self.layer.ask_dx(needed)

    def _named(self, prefix: str, kind: type) -> Any:
        yield from self.layer._named(prefix, kind)
