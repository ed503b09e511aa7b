"""Activations: y = f(x), element by element, for any shape; dx is written over dy, but for that of SwiGLU."""

import math
from typing import ClassVar

import numpy as np

from ..context import Context
from ..errors import UserError
from ..ops import elementwise, gelu
from ..ops.dispatch import Op
from ..ops.swiglu import swiglu, swiglu_dx
from .base import Layer


class _FromOutput(Layer):
    """An activation whose slope is a function of y."""

    op: ClassVar[Op[[np.ndarray, np.ndarray], None]]
    op_dx: ClassVar[Op[[np.ndarray, np.ndarray, np.ndarray], None]]

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return f(x)."""
        y: np.ndarray = ctx.lend(self, "y", x.shape)
        ctx[self] = y
        self.op(x, y)
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return dy f'(x)."""
        self.op_dx(ctx[self], dy, dy)
        return dy


class ReLU(_FromOutput):
    """y = max(x, 0) (Nair and Hinton 2010); dx = dy where y > 0."""

    op, op_dx = elementwise.relu, elementwise.relu_dx


class Tanh(_FromOutput):
    """y = tanh(x); dx = dy (1 - y^2)."""

    op, op_dx = elementwise.tanh, elementwise.tanh_dx


class Sigmoid(_FromOutput):
    """y = 1 / (1 + exp(-x)), the logistic function; dx = dy y (1 - y)."""

    op, op_dx = elementwise.sigmoid, elementwise.sigmoid_dx


class SiLU(Layer):
    """y = x s with s = sigmoid(x) (Elfwing et al. 2017, arXiv 1702.03118; also called swish).

    Forward keeps s and y; dx = dy (s + y (1 - s)).
    """

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return x sigmoid(x)."""
        s: np.ndarray = ctx.empty(self, "s", x.shape)
        y: np.ndarray = ctx.lend(self, "y", x.shape)
        ctx[self] = s, y
        elementwise.silu(x, s, y)
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return dy (s + y (1 - s))."""
        s, y = ctx[self]
        elementwise.silu_dx(s, y, dy, dy)
        return dy


class SwiGLU(Layer):
    """y = silu(a) b of the two halves (a, b) of the last dimension of x (Shazeer 2020, arXiv 2002.05202).

    The feed-forward layer of Llama is ``Linear(C, 2 F), SwiGLU(), Linear(F, C)``: a is its gate projection, b its up
    projection. Forward keeps x; backward computes the sigmoid again.

    Raises
    ------
    UserError
        If the last dimension of x is odd.
    """

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return silu(a) b (..., F) of x (..., 2 F)."""
        if not x.ndim or x.shape[-1] % 2:
            raise UserError(f"SwiGLU expects an even last dimension, not {x.shape}")
        y: np.ndarray = ctx.lend(self, "y", (*x.shape[:-1], x.shape[-1] // 2))
        ctx[self] = x
        swiglu(_rows(x), _rows(y))
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return (da, db)."""
        x = ctx[self]
        dx: np.ndarray = ctx.backward.lend(self, "dx", x.shape)
        swiglu_dx(_rows(x), _rows(dy), _rows(dx))
        return dx


def _rows(x: np.ndarray) -> np.ndarray:
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


class GELU(Layer):
    """y = x Phi(x), Phi the distribution function of N(0, 1) (Hendrycks and Gimpel 2016, arXiv 1606.08415).

    Parameters
    ----------
    approximate : bool
        Use 0.5 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) for Phi, as GPT-2 does: within 5e-4 of y.

    Notes
    -----
    Forward keeps the slope y', so that backward is one product: dx = dy y'. Without ``approximate``, the error of Phi
    is below 1e-9 (see ``ops/gelu.py``).
    """

    def __init__(self, approximate: bool = False):
        self.approximate = approximate

    @property
    def op_name(self) -> str:
        """The name of the op."""
        return "gelu_tanh" if self.approximate else "gelu"

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return x Phi(x)."""
        y: np.ndarray = ctx.lend(self, "y", x.shape)
        slope = ctx[self] = ctx.empty(self, "slope", x.shape)
        (gelu.gelu_tanh if self.approximate else gelu.gelu)(x, y, slope)
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return dy y'."""
        gelu.gelu_dx(ctx[self], dy, dy)
        return dy
