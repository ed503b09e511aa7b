"""Dropout of some of the tokens of a row, with their part of the mask of the whole row."""

from typing import Any

from ...context import Context
from ...layers import Dropout
from ...ops.dropout import ELEMENTS_PER_TICK, dropout_mask
from .parts import TokenParts


class DropoutPart(Dropout):
    """A Dropout whose x (N, T_r, C) are the tokens of one rank.

    Parameters
    ----------
    whole : Dropout
    parts : TokenParts
    rank : int

    Notes
    -----
    Where C is a multiple of 16, each token begins a tick of the generator, and a run of tokens is drawn alone; else the
    mask of the whole row is drawn and cut.
    """

    def __init__(self, whole: Dropout, parts: TokenParts, rank: int):
        vars(self).update(vars(whole))
        self.tokens, self.rank = parts, rank

    def _is_part(self) -> bool:
        return True

    def _draw(self, mask: Any, ctx: Context) -> None:
        n, _, size = mask.shape
        key = ctx.seed, self.number, ctx.step
        if size % ELEMENTS_PER_TICK or ctx.counters is not None or self.place is not None:
            whole = ctx.lend(self, "whole", (n, self.tokens.length, size))
            dropout_mask(whole.reshape(n, self.tokens.length * size), self.p, (*key, ctx.first), ctx.counters)
            own = self.tokens.take(whole, self.rank)
            mask[...] = own if self.place is None else self.place()[0].take(own)  # a part of them: axis tensor
            return
        for i in range(n):
            for own, start in self.tokens.places(self.rank):
                dropout_mask(mask[i, own], self.p, (*key, (ctx.first + i) * self.tokens.length + start))
