"""Dropout with masks that do not depend on the number of ranks."""

import math
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import partial

import numpy as np

from ..context import Context
from ..errors import UserError
from ..ops.dropout import Masks, dropout, dropout_dx, dropout_mask
from ..ops.elementwise import multiply
from ..parameter import Shard
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
        Its position among the layers of the network that draw masks (set by ``models.prepare``): each has its own.
    place : callable() -> (Shard, int), or None
        Where x is a part of the whole x: returns the part, and the whole length of its dimension. The mask is that part
        of the whole one.

    Notes
    -----
    x is (N, ...). The mask of sample ``ctx.first + i`` is drawn from (``ctx.seed``, ``number``, ``ctx.step``, sample):
    the same in any division of the batch into ranks and microbatches.
    """

    def __init__(self, p: float = 0.5):
        self.p, self.number = probability(p), 0
        self.place: Callable[[], tuple[Shard, int]] | None = None

    def part(self, place: Callable[[], tuple[Shard, int]]) -> "Dropout":
        """Return the Dropout of a part of x, which ``place`` returns with the whole length of its dimension."""
        made = copy(self)
        made.place = place
        return made

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return x mask / (1 - p), or x itself where nothing is dropped."""
        if not ctx.training or not self.p:
            ctx[self] = None
            return x
        y: np.ndarray = ctx.lend(self, "y", x.shape)
        masks = Masks(self.p, (ctx.seed, self.number, ctx.step, ctx.first), ctx.counters)
        if self._is_part():
            mask = ctx.empty(self, "mask", x.shape, ctx.sum_dtype)  # its mean would not be 1 in bf16
            self._draw(mask, ctx)
            multiply(x, mask, y)
        else:
            mask = dropout(x, masks, y, partial(ctx.empty, self))
        ctx[self] = masks, mask
        return y

    def _is_part(self) -> bool:
        """Return whether the mask is a part of a larger one, which ``_draw`` cuts."""
        return self.place is not None

    def _draw(self, mask: np.ndarray, ctx: Context) -> None:
        assert self.place is not None
        position = ctx.seed, self.number, ctx.step, ctx.first
        shard, length = self.place()
        dim = shard.dim % mask.ndim
        whole = ctx.lend(self, "whole", (*mask.shape[:dim], length, *mask.shape[dim + 1 :]), mask.dtype)
        dropout_mask(whole.reshape(len(whole), math.prod(whole.shape[1:])), self.p, position, ctx.counters)
        replace(shard, dim=dim).take(whole, out=mask)

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return dy mask / (1 - p), written over dy."""
        if ctx[self] is not None:
            masks, mask = ctx[self]
            dropout_dx(dy, masks, mask, dy)
        return dy


def probability(p: float) -> float:
    """Return ``p``, the probability that an element is dropped.

    Raises
    ------
    UserError
        If it does not lie in [0, 1).
    """
    if not 0 <= p < 1:
        raise UserError(f"the probability of dropout must lie in [0, 1), but it is {p}")
    return p
