"""Fully connected layer."""

import math

import numpy as np

from ..context import Context
from ..ops.linear import linear, linear_dw, linear_dx
from ..ops.reduce import column_sum
from ..parameter import Parameter
from . import init
from .base import Layer, empty_gradient


class Linear(Layer):
    """y = x w + b.

    Parameters
    ----------
    num_inputs, num_outputs : int
        I and O.
    bias : bool

    Notes
    -----
    x is (..., I), w (I, O), b (O,), y (..., O): leading dimensions are flattened to one.
    Gradients: dx = dy w^T, dw = x^T dy, db = sum of dy over rows.
    """

    def __init__(self, num_inputs: int, num_outputs: int, bias: bool = True):
        self.num_inputs, self.num_outputs = num_inputs, num_outputs
        self.weight = Parameter((num_inputs, num_outputs), init.lecun_uniform(num_inputs))
        self.bias = Parameter((num_outputs,), init.lecun_uniform(num_inputs), decay=False) if bias else None

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return x w + b."""
        ctx[self] = x
        y: np.ndarray = ctx.empty(self, "y", (*x.shape[:-1], self.num_outputs))
        linear(as_rows(x), self.weight.data, None if self.bias is None else self.bias.data, as_rows(y), False)
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write dw and db, return dx."""
        x, dy = ctx[self], as_rows(dy)
        self.put_dw(as_rows(x), dy)
        self.put_db(dy)
        if not self.needs_dx:
            return empty_gradient(dy)
        dx: np.ndarray = ctx.empty(self, "dx", x.shape)
        linear_dx(dy, self.weight.data, as_rows(dx))
        return dx

    def put_dw(self, x: np.ndarray, dy: np.ndarray) -> None:
        """Write dw, given x (N, I) and dy (N, O)."""
        linear_dw(x, dy, self.weight.grad, self.weight.accumulate)
        self.weight.written()

    def put_db(self, dy: np.ndarray) -> None:
        """Write db, given dy (N, O)."""
        if self.bias is not None:
            column_sum(dy, self.bias.grad, self.bias.accumulate)
            self.bias.written()


def as_rows(x: np.ndarray) -> np.ndarray:
    """Return x (..., C) as the view (N, C)."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
