"""Fully connected layer."""

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
        Whether a ReLU is done in the same pass (``fuse_relu``).
    below : tuple
        Of the layer whose fused ReLU gives x, if its part of backward is done here, where dx is written: dx counts only
        where x > 0, and its sums are the gradient of that layer's bias. (In a tuple, it is no child.)
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
        self.below: tuple[Linear, ...] = ()

    def forward(self, x: np.ndarray, saved: Saved) -> np.ndarray:
        """Return x w + b."""
        y = saved.empty(self, "y", (*x.shape[:-1], self.num_outputs))
        saved[self] = x, y
        b = None if self.bias is None else self.bias.data
        ops.linear(_rows(x), self.weight.data, b, _rows(y), self.relu)
        return y

    def backward(self, dy: np.ndarray, saved: Saved) -> np.ndarray:
        """Write dw and db, return dx."""
        (x, y), w = saved[self], self.weight
        if self.relu and not self.done_above:
            ops.relu_dx(y, dy, dy, saved.scratch("mask", dy.shape, bool))
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
            bias = self.below[0].bias
            db = None if bias is None else gradient_of(bias)
            ops.linear_dx_relu(_rows(dy), w.data, _rows(x), _rows(dx), db, saved.scratch)
        else:
            ops.linear_dx(_rows(dy), w.data, _rows(dx))
        return dx


def _rows(x: np.ndarray) -> np.ndarray:
    return x if x.ndim == 2 else x.reshape(int(np.prod(x.shape[:-1])), x.shape[-1])
