"""Fully connected layer."""

import math
from dataclasses import replace
from functools import partial
from itertools import accumulate

import numpy as np

from ..context import Context
from ..ops.linear import linear, linear_dw, linear_dx
from ..ops.reduce import column_sum
from ..parameter import Parameter, Shard
from . import init
from .base import Layer, empty_gradient


class Linear(Layer):
    """y = x w + b.

    Parameters
    ----------
    num_inputs, num_outputs : int
        I and O.
    bias : bool

    Attributes
    ----------
    parts : tuple of (str, int)
        Names and numbers of the outputs that lie side by side in y, where it stands for several Linears (q, k and v).

    Notes
    -----
    x is (..., I), w (I, O), b (O,), y (..., O): leading dimensions are flattened to one.
    Gradients: dx = dy w^T, dw = x^T dy, db = sum of dy over rows.
    """

    parts: tuple[tuple[str, int], ...] = ()

    def __init__(self, num_inputs: int, num_outputs: int, bias: bool = True):
        self.num_inputs, self.num_outputs = num_inputs, num_outputs
        self.weight = Parameter((num_inputs, num_outputs), init.lecun_uniform(num_inputs))
        self.bias = Parameter((num_outputs,), init.lecun_uniform(num_inputs), decay=False) if bias else None

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return x w + b."""
        rows = x if x.ndim == 2 else as_rows(x)
        ctx[self] = rows, x.shape
        y: np.ndarray = ctx.lend_rows(self, "y", len(rows), self.num_outputs)
        linear(rows, self.weight.data, None if self.bias is None else self.bias.data, y, False)
        return y if x.ndim == 2 else y.reshape(*x.shape[:-1], self.num_outputs)

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write dw and db, or put them off; return dx."""
        rows, shape = ctx[self]
        dy = dy if dy.ndim == 2 else as_rows(dy)
        if ctx.later is None:
            self.put_gradients(rows, dy)
        elif self.trains:
            ctx.later.append(partial(self.put_gradients, rows, dy))
        if not self.needs_dx:
            return empty_gradient(dy)
        dx: np.ndarray = ctx.backward.lend(self, "dx", rows.shape)
        linear_dx(dy, self.weight.data, dx)
        return dx.reshape(shape)

    def part(self, shard: Shard) -> "Linear":
        """Return the Linear of some of the inputs (dimension 0 of w; without the bias), or of some of the outputs (1).

        Its parameters are parts of these ones, with the initial values that they have in the whole layer.
        """
        inputs, outputs = shard.shape(self.weight.full_shape)
        made = Linear(self.num_inputs, self.num_outputs, bias=self.bias is not None and shard.dim == 1)
        made.num_inputs, made.num_outputs = inputs, outputs
        made.weight = self.weight.part(shard)
        if self.bias is not None and made.bias is not None:
            made.bias = self.bias.part(replace(shard, dim=0))
        return made

    def spans(self) -> dict[str, tuple[int, int]]:
        """Return the first output of each part, and the one after its last."""
        stops = list(accumulate(width for _, width in self.parts))
        return {name: (stop - width, stop) for (name, width), stop in zip(self.parts, stops, strict=True)}

    def put_gradients(self, x: np.ndarray, dy: np.ndarray, *, with_bias: bool = True) -> None:
        """Write dw and, unless it is in place already, db, given x (N, I) and dy (N, O); those that are trained."""
        if not self.weight.frozen:
            linear_dw(x, dy, self.weight.grad, self.weight.accumulate)
            self.weight.written()
        if with_bias and self.bias is not None and not self.bias.frozen:
            column_sum(dy, self.bias.grad, self.bias.accumulate)
            self.bias.written()


def as_rows(x: np.ndarray) -> np.ndarray:
    """Return x (..., C) as (N, C)."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
