"""A layer whose results are not kept for backward but computed again."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..context import Context
from .base import Layer, empty_gradient


class Recompute(Layer):
    """y = layer(x), of which a training step keeps only x (Chen et al. 2016, arXiv 1604.06174, "checkpointing").

    Backward begins with a second forward, with the same dropout masks and batch statistics; running statistics are
    updated once. It is left out where nothing else has used the memory since the first.

    Parameters
    ----------
    layer : Layer
        A block, or a whole stage of a pipeline. Its forward must give the same results twice.

    Notes
    -----
    Parameters, states and layers have the names that they have without it. All layers of this class and all
    microbatches in flight compute in the same memory; y and dx are copied out of it.
    """

    def __init__(self, layer: Layer):
        self.layer = layer

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return y."""
        if not ctx.training:
            return self.layer.forward(x, ctx)
        inner, mark = ctx.repeat(self)
        ctx[self] = x, mark
        inner.updates_statistics = ctx.updates_statistics
        y = self.layer.forward(x, inner)
        return _copy(y, ctx.lend(self, "y", y.shape, y.dtype))

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Compute y again if need be, write parameter gradients or put them off, return dx."""
        x, mark = ctx[self]
        inner, now = ctx.repeat(self, mark)
        if now is not mark:
            inner.updates_statistics = False
            self.layer.forward(x, inner)
        dx = self.layer.backward(dy, inner)
        if not self.needs_dx:
            return empty_gradient(dy)
        return _copy(dx, ctx.backward.lend(self, "dx", dx.shape, dx.dtype))

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this and of the layer."""
        self.needs_dx = needed
        self.layer.ask_dx(needed)

    def replace(self, name: str, layer: Layer) -> None:
        """Put another layer in the place of the layer's child of that name."""
        self.layer.replace(name, layer)

    def children(self) -> Iterator[tuple[str, Layer]]:
        """Yield the children of the layer, under their names there."""
        yield from self.layer.children()

    def layers(self) -> Iterator[Layer]:
        """Yield this layer, the layer in it, and all below that."""
        yield self
        yield from self.layer.layers()

    def running(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield (dotted name, layer) of what runs in the layer."""
        yield from self.layer.running(prefix)

    def _named(self, prefix: str, kind: type) -> Iterator[tuple[str, Any]]:
        yield from self.layer._named(prefix, kind)


def _copy(array: np.ndarray, out: np.ndarray) -> np.ndarray:
    np.copyto(out, array)
    return out
