"""Convolutions with ReLUs between them, linked so that a ReLU costs no pass over memory on a GPU.

    y1 = f(x * w1 + b1),  y2 = f(y1 * w2 + b2),  f(z) = max(z, 0)

Forward, each convolution applies f where it writes y. Backward, the convolution that writes the gradient of y1 sets it
to 0 where y1 is, and sums it to the gradient of b1: the link above does part of the work of the link below. At the top,
one pass does both. A CPU computes what the layers one by one do.
"""

from functools import partial

import numpy as np

from ...context import Context
from ...ops.conv2d import conv2d_db_relu, conv2d_dx_relu
from ...ops.gradient import Gradient
from ..activations import ReLU
from ..base import Layer, empty_gradient, gradient_of
from ..conv2d import Conv2d
from ..tail import take_gradient, take_over
from .base import Fused


class ConvLink(Fused):
    """y = f(x * w + b), or y = x * w + b: one link of a chain.

    Parameters
    ----------
    conv : Conv2d
    activation : ReLU, optional
        f.
    below : ConvLink, optional
        The link that computes x.
    top : bool
        Whether there is no link above. Otherwise the dy of backward is already the gradient of x * w + b, and the
        gradient of b is in place.
    """

    def __init__(self, conv: Conv2d, activation: ReLU | None, below: "ConvLink | None" = None, top: bool = True):
        super().__init__(conv, *(() if activation is None else (activation,)))
        self.conv, self.below, self.top = conv, below, top
        self._relu = activation is not None

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return f(x * w + b); without f, at the end of a residual block, its sum and ReLU."""
        y = self.conv.convolve(x, ctx, take_over(self, ctx), self._relu)
        ctx[self] = y if self._relu and self.top else None
        return y

    def ending(self) -> Layer | None:
        """Return itself, unless it has an activation of its own."""
        return None if self._relu else self

    def beginning(self) -> Layer | None:
        """Return itself, if it is the first of its chain."""
        return self if self.below is None else None

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write dw and, at the top, db; return dx, or through the activation below the gradient of its argument.

        What is written can be put off. A db that is the sum of what a pass writes cannot.
        """
        x, plan = ctx[self.conv]
        conv, y = self.conv, ctx[self]
        if y is not None:
            conv2d_db_relu(y, dy, self._bias_gradient())
        with_bias = self.top and y is None
        if ctx.later is None:
            conv.put_gradients(x, dy, plan, with_bias)
        elif conv.trains:
            ctx.later.append(partial(conv.put_gradients, x, dy, plan, with_bias))
        if not conv.needs_dx:
            return empty_gradient(dy)
        dx: np.ndarray = ctx.backward.lend(self, "dx", x.shape)
        if self.below is None:
            conv.write_dx(dy, dx, plan, take_gradient(self, ctx))
        else:
            conv2d_dx_relu(dy, conv.weight.data, x, dx, self.below._bias_gradient(), plan)
        return dx

    def _bias_gradient(self) -> Gradient | None:
        bias = self.conv.bias
        return None if bias is None or bias.frozen else gradient_of(bias)
