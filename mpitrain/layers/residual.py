"""Residual connection: a layer with a shortcut around it."""

from collections.abc import Iterator

import numpy as np

from ..context import Context
from ..ops.elementwise import add, add_relu, add_relu_dx
from .activations import ReLU
from .base import Layer, empty_gradient


class Residual(Layer):
    """y = activation(body(x) + shortcut(x)) (He et al. 2015, arXiv 1512.03385).

    Parameters
    ----------
    body : Layer
    shortcut : Layer, optional
        The identity by default.
    activation : Layer, optional
        After the sum; the identity by default. A ReLU is computed in the same pass as the sum.

    Notes
    -----
    dx is the sum of both branches' dx; each gets its own copy of dy, since a backward may overwrite it.
    """

    def __init__(self, body: Layer, shortcut: Layer | None = None, activation: Layer | None = None):
        self.body, self.shortcut, self.activation = body, shortcut, activation
        self._ends_in_relu = type(activation) is ReLU

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the sum of both branches, activated."""
        body = self.body.forward(x, ctx)
        shortcut = x if self.shortcut is None else self.shortcut.forward(x, ctx)
        y: np.ndarray = ctx.lend(self, "y", body.shape)
        ctx[self] = y
        if self._ends_in_relu:
            add_relu(body, shortcut, y)
            return y
        add(body, shortcut, y)
        return y if self.activation is None else self.activation.forward(y, ctx)

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this and of both branches."""
        self.needs_dx = needed
        for branch in (self.body, self.shortcut):
            if branch is not None:
                branch.ask_dx(needed)
        if self.activation is not None:
            self.activation.ask_dx(needed or self.body.trains or (self.shortcut is not None and self.shortcut.trains))

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the sum of both branches' dx."""
        copy: np.ndarray = ctx.backward.lend(self, "dy", dy.shape)
        if self._ends_in_relu:
            add_relu_dx(ctx[self], dy, copy)
        else:
            dy = dy if self.activation is None else self.activation.backward(dy, ctx)
            np.copyto(copy, dy)
        if not self.needs_dx:
            return self._write_gradients(dy, copy, ctx)
        shortcut = dy if self.shortcut is None else self.shortcut.backward(dy, ctx)
        dx = self.body.backward(copy, ctx)
        add(dx, shortcut, dx)
        return dx

    def _write_gradients(self, dy: np.ndarray, copy: np.ndarray, ctx: Context) -> np.ndarray:
        """Run backward of the branches that have something to train, for no dx."""
        if self.shortcut is not None and self.shortcut.trains:
            self.shortcut.backward(dy, ctx)
        if self.body.trains:
            self.body.backward(copy, ctx)
        return empty_gradient(dy)

    def running(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield (dotted name, layer) of the layers whose forward and backward run."""
        for name, child in self.children():
            if child is not self.activation or not self._ends_in_relu:
                yield from child.running(f"{prefix}{name}.")
