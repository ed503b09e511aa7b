"""Fully connected layer."""

from functools import partial
from typing import Any

import numpy as np

from .. import ops
from ..arena import Parameter
from ..saved import Saved
from . import init
from .base import Layer, empty_gradient
from .gradient import gradient_of


class Linear(Layer):
    """y = x w + b.

    Parameters
    ----------
    num_inputs, num_outputs : int
        I and O.
    bias : bool

    Attributes
    ----------
    relu : bool
        Whether a ReLU is done in the same pass (``fuse_activations``).
    gelu : str
        "gelu" or "gelu_tanh" where that is.
    below : tuple
        Of the layer whose activation gives x, if its part of backward is done here, where dx is written: dx is
        multiplied by the activation's slope, and its sums are the gradient of that layer's bias. (In a tuple, it is no
        child.)
    done_above : bool
        Whether the layer above does so for this one.

    Notes
    -----
    x is (..., I), w (I, O), b (O,), y (..., O): leading dimensions are flattened to one.
    Gradients: dx = dy w^T, dw = x^T dy, db = sum of dy over rows.
    """

    def __init__(self, num_inputs: int, num_outputs: int, bias: bool = True):
        self.num_inputs, self.num_outputs = num_inputs, num_outputs
        self.weight = Parameter((num_inputs, num_outputs), init.lecun_uniform(num_inputs))
        self.bias = Parameter((num_outputs,), init.lecun_uniform(num_inputs), decay=False) if bias else None
        self.relu = self.done_above = False
        self.gelu = ""
        self.below: tuple[Linear, ...] = ()

    def forward(self, x: np.ndarray, saved: Saved) -> np.ndarray:
        """Return x w + b."""
        y = saved.empty(self, "y", (*x.shape[:-1], self.num_outputs))
        saved[self] = x, _rows(y)
        w, b = self.weight.data, None if self.bias is None else self.bias.data
        if self.gelu:
            kept = ops.linear_gelu(_rows(x), w, b, _rows(y), self.gelu, partial(saved.empty, self))
            saved[self] = x, kept
        else:
            ops.linear(_rows(x), w, b, _rows(y), self.relu)
        return y

    def backward(self, dy: np.ndarray, saved: Saved) -> np.ndarray:
        """Write dw and db, return dx."""
        (x, kept), w = saved[self], self.weight
        if not self.done_above:
            self._activation_dx(_rows(dy), kept, saved)
        scratch = saved.scratch("dw", w.shape) if w.accumulate else None
        ops.linear_dw(_rows(x), _rows(dy), w.grad, scratch)
        w.written()
        if self.bias is not None and not self.done_above:
            ops.column_sum(_rows(dy), self.bias.grad, self.bias.accumulate)
            self.bias.written()
        if not self.needs_dx:
            return empty_gradient(dy)
        dx = saved.empty(self, "dx", x.shape)
        if self.below:
            self._dx_through(self.below[0], _rows(dy), _rows(x), _rows(dx), saved)
        else:
            ops.linear_dx(_rows(dy), w.data, _rows(dx))
        return dx

    def _activation_dx(self, dy: np.ndarray, kept: Any, saved: Saved) -> None:
        """Turn the gradient of the activation's result into that of x w + b."""
        if self.relu:
            ops.relu_dx(kept, dy, dy, saved.scratch("mask", dy.shape, bool))
        elif self.gelu:
            ops.linear_gelu_dx(dy, kept, self.gelu)

    def _dx_through(self, below: "Linear", dy: np.ndarray, x: np.ndarray, dx: np.ndarray, saved: Saved) -> None:
        """Write dx as the gradient of what the activation of ``below`` was applied to, and that of its bias."""
        w, db = self.weight.data, None if below.bias is None else gradient_of(below.bias)
        if below.relu:
            ops.linear_dx_relu(dy, w, x, dx, db, saved.scratch)
        else:
            ops.linear_dx_gelu(dy, w, saved[below][1], dx, db, below.gelu)


def _rows(x: np.ndarray) -> np.ndarray:
    return x if x.ndim == 2 else x.reshape(int(np.prod(x.shape[:-1])), x.shape[-1])
