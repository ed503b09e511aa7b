"""Activations: y = f(x), and sums and products, element by element.

Shapes: all alike, any; C-contiguous. dx may be dy itself.
"""

import numpy as np

from .dispatch import op


@op
def relu(x: np.ndarray, y: np.ndarray) -> None:
    """Write y = max(x, 0): against an array of zeros, which NumPy does three times as fast as against a number."""
    y.fill(0)
    np.maximum(x, y, out=y)


@op
def relu_dx(y: np.ndarray, dy: np.ndarray, dx: np.ndarray, mask: np.ndarray) -> None:
    """Write dx = dy where y > 0, else 0; ``mask`` (bool) is scratch."""
    np.greater(y, 0, out=mask)
    np.multiply(dy, mask, out=dx)


@op
def add(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> None:
    """Write y = a + b."""
    np.add(a, b, out=y)


@op
def multiply(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> None:
    """Write y = a b."""
    np.multiply(a, b, out=y)


@op
def add_relu(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> None:
    """Write y = max(a + b, 0): the end of a residual block."""
    np.add(a, b, out=y)
    np.maximum(y, 0, out=y)


@op
def add_relu_dx(y: np.ndarray, dy: np.ndarray, copy: np.ndarray) -> None:
    """Keep dy where y > 0, put 0 elsewhere, and write ``copy`` = dy: one for each branch."""
    np.greater(y, 0, out=copy, casting="unsafe")
    np.multiply(dy, copy, out=copy)
    np.copyto(dy, copy)


@op
def tanh(x: np.ndarray, y: np.ndarray) -> None:
    """Write y = tanh(x)."""
    np.tanh(x, out=y)


@op
def tanh_dx(y: np.ndarray, dy: np.ndarray, dx: np.ndarray, slope: np.ndarray) -> None:
    """Write dx = dy (1 - y^2); ``slope`` is scratch."""
    np.multiply(y, y, out=slope)
    np.subtract(1, slope, out=slope)
    np.multiply(dy, slope, out=dx)


@op
def sigmoid(x: np.ndarray, y: np.ndarray) -> None:
    """Write y = 1 / (1 + exp(-x)), as (1 + tanh(x / 2)) / 2, which never overflows."""
    np.multiply(x, 0.5, out=y)
    np.tanh(y, out=y)
    np.add(y, 1, out=y)
    np.multiply(y, 0.5, out=y)


@op
def sigmoid_dx(y: np.ndarray, dy: np.ndarray, dx: np.ndarray, slope: np.ndarray) -> None:
    """Write dx = dy y (1 - y); ``slope`` is scratch."""
    np.subtract(1, y, out=slope)
    np.multiply(slope, y, out=slope)
    np.multiply(dy, slope, out=dx)


@op
def silu(x: np.ndarray, s: np.ndarray, y: np.ndarray) -> None:
    """Write s = sigmoid(x) and y = x s."""
    sigmoid(x, s)
    np.multiply(x, s, out=y)


@op
def silu_dx(s: np.ndarray, y: np.ndarray, dy: np.ndarray, dx: np.ndarray, slope: np.ndarray) -> None:
    """Write dx = dy (s + y (1 - s)); ``slope`` is scratch."""
    np.subtract(1, s, out=slope)
    np.multiply(slope, y, out=slope)
    np.add(slope, s, out=slope)
    np.multiply(dy, slope, out=dx)
