"""Learned vectors for integers."""

import numpy as np

from .. import ops
from ..arena import Parameter
from ..device import device_of
from ..errors import UserError
from ..saved import Saved
from . import init
from .base import Layer, empty_gradient


class Embedding(Layer):
    """y = w[x] (Bengio et al. 2003, "A neural probabilistic language model").

    Parameters
    ----------
    num_embeddings, size : int
        V and D.
    std : float
        Of the first values, normal draws (0.02 as in GPT-2).

    Raises
    ------
    UserError
        In ``forward``, if a number in x lies outside [0, V).

    Notes
    -----
    On a GPU such a number gives a row of NaN, and is named when that is looked into.

    x is (...) integer, w (V, D), y (..., D). Gradient: dw[v] = sum of dy where x = v. There is no dx.
    """

    def __init__(self, num_embeddings: int, size: int, std: float = 0.02):
        self.num_embeddings, self.size = num_embeddings, size
        self.weight = Parameter((num_embeddings, size), init.normal(std))
        self.needs_dx = False

    def forward(self, x: np.ndarray, saved: Saved) -> np.ndarray:
        """Return the rows of w that x names."""
        ids = saved[self] = x.reshape(-1)
        ops.check_ids(ids, self.num_embeddings)
        y = saved.empty(self, "y", (*x.shape, self.size))
        ops.embedding(ids, self.weight.data, y.reshape(len(ids), self.size))
        return y

    def backward(self, dy: np.ndarray, saved: Saved) -> np.ndarray:
        """Write dw."""
        ids, w = saved[self], self.weight
        if not w.accumulate:
            w.grad.fill(0)
        ops.embedding_dw(ids, dy.reshape(len(ids), self.size), w.grad, saved.scratch)
        w.written()
        return empty_gradient(dy)

    def complaint(self, x: np.ndarray) -> str:
        """Return which number names no row."""
        try:
            ops.check_ids(device_of(x).to_host(x).reshape(-1), self.num_embeddings)
        except UserError as error:
            return str(error)
        return ""
