"""Learned vectors for integers."""

from functools import partial

import numpy as np

from ..context import Context
from ..device import device_of
from ..errors import UserError
from ..ops.embedding import check_ids, embedding, embedding_dw, row_sums
from ..parameter import Initializer, Parameter
from .base import Layer, empty_gradient
from .init import normal


class Embedding(Layer):
    """y = w[x] (Bengio et al. 2003, "A neural probabilistic language model").

    Parameters
    ----------
    num_embeddings, size : int
        V and D.
    std : float
        Standard deviation of the initial values, normal draws (0.02 as in GPT-2).
    init : callable(rng, shape) -> array, optional
        Draws them in another way.

    Raises
    ------
    UserError
        In ``forward``, if a number in x is outside of [0, V). On a GPU such a number gives a row of NaN, and
        ``diagnose`` names it.

    Notes
    -----
    x is (...) integer, w (V, D), y (..., D). Gradient: dw[v] = sum of dy where x = v. There is no dx.
    """

    def __init__(self, num_embeddings: int, size: int, std: float = 0.02, init: Initializer | None = None):
        self.num_embeddings, self.size = num_embeddings, size
        self.weight = Parameter((num_embeddings, size), init or normal(std))
        self.needs_dx = False

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the rows w[x]."""
        ids = ctx[self] = x.reshape(-1)
        check_ids(ids, self.num_embeddings)
        y: np.ndarray = ctx.lend(self, "y", (*x.shape, self.size))
        embedding(ids, self.weight.data, y.reshape(len(ids), self.size))
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write dw, or put it off."""
        ids = ctx[self]
        if ctx.later is None:
            self.put_gradient(ids, dy)
        elif not self.weight.frozen:
            ctx.later.append(partial(self.put_gradient, ids, dy))
        return empty_gradient(dy)

    def put_gradient(self, ids: np.ndarray, dy: np.ndarray) -> None:
        """Add rows ``dy`` (..., D) to dw at ``ids`` (M,), if w is trained."""
        w = self.weight
        if w.frozen:
            return
        rows = dy.reshape(len(ids), self.size)
        if w.by_rows:
            w.rows.append(row_sums(ids, rows))
        else:
            if not w.accumulate:
                w.grad.fill(0)
            embedding_dw(ids, rows, w.grad)
        w.written()

    def diagnose(self, x: np.ndarray) -> str:
        """Return the message about a number outside of the table."""
        try:
            check_ids(device_of(x).to_host(x).reshape(-1), self.num_embeddings)
        except UserError as error:
            return str(error)
        return ""


def sample_dtype(model: Layer) -> type[np.generic]:
    """Return the type of the samples that ``model`` takes: int64 if these are codes only, else float32.

    A layer above an Embedding that takes numbers, too, has an attribute ``only_codes``.
    """
    for layer in model.layers():
        if isinstance(layer, Embedding) or hasattr(layer, "only_codes"):
            return np.int64 if getattr(layer, "only_codes", True) else np.float32
    return np.float32
