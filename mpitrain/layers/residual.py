"""Residual connection: a layer with a shortcut around it."""

from collections.abc import Iterator

import numpy as np

from ..context import Context
from ..ops.elementwise import add, add_relu, add_relu_dx, relu_dx
from .activations import ReLU
from .base import Layer, empty_gradient
from .batchnorm2d import BatchNorm2d
from .tail import Tail, hand_over, hand_over_gradient


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
    Where the body ends in a batch normalization or a convolution, that layer computes the sum and the ReLU as it writes
    its result (``Layer.ending``); the shortcut runs right before it.

    dx is the sum of both branches' dx; each gets its own copy of dy, since a backward may overwrite it. A batch
    normalization at the end leaves the gradient of the sum in dy, which the shortcut gets afterwards.
    """

    def __init__(self, body: Layer, shortcut: Layer | None = None, activation: Layer | None = None):
        self.body, self.shortcut, self.activation = body, shortcut, activation
        self._ends_in_relu = type(activation) is ReLU

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the sum of both branches, activated."""
        ending = self.body.ending()
        if ending is None:
            y = self._sum(self.body.forward(x, ctx), self._shortcut(x, ctx), ctx)
        else:
            z = self.body.up_to_ending(x, ctx)
            hand_over(ending, Tail(self._shortcut(x, ctx), self._ends_in_relu), ctx)
            y = ending.forward(z, ctx)
        ctx[self] = y, isinstance(ending, BatchNorm2d)
        if self._ends_in_relu or self.activation is None:
            return y
        return self.activation.forward(y, ctx)

    def _shortcut(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        return x if self.shortcut is None else self.shortcut.forward(x, ctx)

    def _sum(self, body: np.ndarray, shortcut: np.ndarray, ctx: Context) -> np.ndarray:
        y: np.ndarray = ctx.lend(self, "y", body.shape)
        (add_relu if self._ends_in_relu else add)(body, shortcut, y)
        return y

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
        y, by_ending = ctx[self]
        if not self._ends_in_relu and self.activation is not None:
            dy = self.activation.backward(dy, ctx)
        if by_ending:
            return self._backward_by_ending(y, dy, ctx)
        copy: np.ndarray = ctx.backward.lend(self, "dy", dy.shape)
        if self._ends_in_relu:
            add_relu_dx(y, dy, copy)
        else:
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

    def _backward_by_ending(self, y: np.ndarray, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return dx; the batch normalization that ends the body makes dy the gradient of the sum, and leaves it."""
        dx, added = empty_gradient(dy), None
        if self.needs_dx and self.shortcut is None:
            added = self.body.beginning()
            if added is not None:
                hand_over_gradient(added, dy, ctx)
        if self.needs_dx or self.body.trains:
            dx = self.body.backward(dy, ctx)
        elif self._ends_in_relu:
            relu_dx(y, dy, dy)
        if added is not None:
            return dx
        if self.needs_dx:
            add(dx, dy if self.shortcut is None else self.shortcut.backward(dy, ctx), dx)
            return dx
        if self.shortcut is not None and self.shortcut.trains:
            self.shortcut.backward(dy, ctx)
        return empty_gradient(dy)

    def running(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield (dotted name, layer) of the layers whose forward and backward run."""
        for name, child in self.children():
            if child is not self.activation or not self._ends_in_relu:
                yield from child.running(f"{prefix}{name}.")
