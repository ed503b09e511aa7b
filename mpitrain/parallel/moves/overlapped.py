"""A move and the layer above it, whose parameter gradients are computed while the move sums dx."""

from collections.abc import Callable
from typing import Any, Protocol

from ...comm.group import Group
from ...context import Context
from ...layers.base import Layer
from ...layers.fused import Fused


class StartsBackward(Protocol):
    """A move whose backward can be started and waited for later."""

    needs_dx: bool
    group: Group

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return y."""

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return dx."""

    def start_backward(self, dy: Any, ctx: Context) -> Callable[[], Any]:
        """Start to compute dx, and return the function that waits for it and returns it; dy is copied."""


class Overlapped(Fused):
    """y = layer(move(x)); the gradients of the layer's parameters are computed while messages of the move travel.

    Backward computes the layer's dx first and starts the move's backward. Where gradients are put off
    (``Context.later``) anyway, nothing is left that could overlap.

    Parameters
    ----------
    move : StartsBackward
    layer : Layer
    """

    def __init__(self, move: Any, layer: Layer):
        super().__init__(move, layer)
        self.move, self.layer = move, layer

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return layer(move(x))."""
        return self.layer.forward(self.move.forward(x, ctx), ctx)

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Write parameter gradients, and return dx."""
        if ctx.later is not None or not self.move.needs_dx:
            return self.move.backward(self.layer.backward(dy, ctx), ctx)
        ctx.later = []
        dx = self.layer.backward(dy, ctx)
        wait = self.move.start_backward(dx, ctx)
        for put_gradient in ctx.later:
            put_gradient()
        ctx.later = None
        return wait()


def overlapped(move: StartsBackward, above: Layer) -> Layer | None:
    """Return both in one; None on a group of one rank."""
    return Overlapped(move, above) if move.group.size > 1 else None
