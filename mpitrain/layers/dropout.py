"""Dropout with masks that do not depend on the number of ranks."""

import math

import numpy as np

from .. import ops
from ..errors import UserError
from ..saved import Saved
from .base import Layer


class Dropout(Layer):
    """y = x mask / (1 - p) in training, x in evaluation (Srivastava et al. 2014, JMLR 15).

    Parameters
    ----------
    p : float
        Probability that an element is dropped, in [0, 1); rounded to a multiple of 2^-16.

    Attributes
    ----------
    number : int
        Its place among the Dropouts of the network (set by ``models.prepare``), so that each has its own masks.

    Notes
    -----
    x is (N, ...). The mask of sample ``saved.first + i`` is drawn from (``saved.seed``, ``number``, ``saved.step``,
    sample): the same in any split of the batch over ranks and microbatches.
    """

    def __init__(self, p: float = 0.5):
        if not 0 <= p < 1:
            raise UserError(f"the probability of dropout must lie in [0, 1), but it is {p}")
        self.p = p
        self.number = 0

    def forward(self, x: np.ndarray, saved: Saved) -> np.ndarray:
        """Return x mask / (1 - p), or x itself where nothing is dropped."""
        if not saved.training or not self.p:
            saved[self] = None
            return x
        mask = saved[self] = saved.empty(self, "mask", x.shape)
        rows = mask.reshape(len(x), math.prod(x.shape[1:]))
        ops.dropout_mask(rows, self.p, (saved.seed, self.number, saved.step, saved.first), saved.counters)
        y = saved.empty(self, "y", x.shape)
        ops.multiply(x, mask, y)
        return y

    def backward(self, dy: np.ndarray, saved: Saved) -> np.ndarray:
        """Return dy mask / (1 - p), written over dy."""
        mask = saved[self]
        if mask is not None:
            ops.multiply(dy, mask, dy)
        return dy
