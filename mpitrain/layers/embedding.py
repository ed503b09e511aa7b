"""Learned vectors for integers."""

import numpy as np

from .. import ops
from ..arena import Parameter
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
    x is (...) integer, w (V, D), y (..., D). Gradient: dw[v] = sum of dy where x = v. There is no dx.
    """

    def __init__(self, num_embeddings: int, size: int, std: float = 0.02):
        self.num_embeddings, self.size = num_embeddings, size
        self.weight = Parameter((num_embeddings, size), init.normal(std))
        self.needs_dx = False

    def forward(self, x: np.ndarray, saved: Saved) -> np.ndarray:
        """Return the rows of w that x names."""
        ids = saved[self] = x.reshape(-1)
        for found in (ids.min(initial=0), ids.max(initial=0)):
            if not 0 <= found < self.num_embeddings:
                raise UserError(f"a token is {found}, but the embedding has rows 0 to {self.num_embeddings - 1}")
        y = saved.empty(self, "y", (*x.shape, self.size))
        ops.embedding(ids, self.weight.data, y.reshape(len(ids), self.size))
        return y

    def backward(self, dy: np.ndarray, saved: Saved) -> np.ndarray:
        """Write dw."""
        ids, w = saved[self], self.weight
        if not w.accumulate:
            w.grad.fill(0)
        scratch = saved.scratch("rows", (2, len(ids), self.size))
        ops.embedding_dw(ids, dy.reshape(len(ids), self.size), w.grad, scratch)
        w.written()
        return empty_gradient(dy)
