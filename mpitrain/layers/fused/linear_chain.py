"""Linear layers with activations between them, linked so that no activation costs a pass over memory.

    y1 = f(x w1 + b1),  y2 = f(y1 w2 + b2),  y3 = y2 w3 + b3

Forward, each product applies the activation where it writes y. Backward, the product that writes the gradient of y1
also multiplies it by the slope f' and sums it to the gradient of b1: the link above does part of the work of the link
below.
"""

from functools import partial
from typing import Any

import numpy as np

from ...context import Context
from ...ops.elementwise import relu_dx
from ...ops.linear import linear, linear_dx, linear_dx_gelu, linear_dx_relu, linear_gelu, linear_gelu_dx
from ..activations import GELU, ReLU
from ..base import empty_gradient, gradient_of
from ..linear import Linear, as_rows
from .base import Fused


class LinearLink(Fused):
    """y = f(x w + b), or y = x w + b: one link of a chain.

    Parameters
    ----------
    linear : Linear
    activation : ReLU or GELU, optional
        f.
    below : LinearLink, optional
        The link that computes x.
    top : bool
        Whether there is no link above. Otherwise the dy of backward is already the gradient of x w + b, and the
        gradient of b is in place.
    """

    def __init__(
        self, linear: Linear, activation: ReLU | GELU | None, below: "LinearLink | None" = None, top: bool = True
    ):
        super().__init__(linear, *(() if activation is None else (activation,)))
        self.linear, self.below, self.top = linear, below, top
        self._relu = type(activation) is ReLU
        self._gelu = activation.op_name if isinstance(activation, GELU) else ""

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return f(x w + b)."""
        rows = x if x.ndim == 2 else as_rows(x)
        y: np.ndarray = ctx.lend(self, "y", (len(rows), self.linear.num_outputs))
        w, b = self.linear.weight.data, None if self.linear.bias is None else self.linear.bias.data
        kept: Any = y if self._relu else None
        if self._gelu:
            kept = linear_gelu(rows, w, b, y, self._gelu, partial(ctx.empty, self))
        else:
            linear(rows, w, b, y, self._relu)
        ctx[self] = rows, kept, x.shape
        return y if x.ndim == 2 else y.reshape(*x.shape[:-1], self.linear.num_outputs)

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write dw and, at the top, db; return dx, or through the activation below the gradient of its argument.

        What is written can be put off. The db of the link below cannot, as a sum in the pass that writes dx.
        """
        rows, kept, shape = ctx[self]
        dy = dy if dy.ndim == 2 else as_rows(dy)
        if self.top and self._gelu:
            linear_gelu_dx(dy, kept, self._gelu)
        elif self.top and self._relu:
            relu_dx(kept, dy, dy)
        if ctx.later is None:
            self.linear.put_gradients(rows, dy, with_bias=self.top)
        elif self.linear.trains:
            ctx.later.append(partial(self.linear.put_gradients, rows, dy, with_bias=self.top))
        if not self.linear.needs_dx:
            return empty_gradient(dy)
        dx: np.ndarray = ctx.backward.lend(self, "dx", rows.shape)
        if self.below is None:
            linear_dx(dy, self.linear.weight.data, dx)
        else:
            self.below.dx_through(dy, self.linear.weight.data, rows, dx, ctx)
        return dx.reshape(shape)

    def dx_through(self, dy: np.ndarray, w: np.ndarray, x: np.ndarray, dx: np.ndarray, ctx: Context) -> None:
        """Write dx = (dy w^T) f', given the dy, w and x of the link above, and db = its sum, of this link."""
        bias = self.linear.bias
        db = None if bias is None or bias.frozen else gradient_of(bias)
        if self._gelu:
            linear_dx_gelu(dy, w, ctx[self][1], dx, db, self._gelu)
        else:
            linear_dx_relu(dy, w, x, dx, db)
