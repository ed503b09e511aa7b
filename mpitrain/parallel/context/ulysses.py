"""Ulysses: tokens divided become heads divided before attention, and back (Jacobs et al. 2023, arXiv 2309.14509)."""

from collections.abc import Iterator
from typing import Any

from ...comm.group import Group
from ...context import Context
from ...data.sampler import share
from ...layers import Layer
from ...ops.attention import Block, attention, attention_dx
from ..moves import Turn
from .head_turn import HeadTurn, Range
from .heads import Heads, by_heads
from .parts import TokenParts


class Ulysses(Layer):
    """Attention of all tokens for some of the heads, between two turns.

    Parameters
    ----------
    heads : Heads
        Of the layer: H at least as many as ranks.
    group : Group
    parts : TokenParts
        Neighbors.

    Notes
    -----
    x (N, T_r, (H + 2 Hk) D), y (N, T_r, H D). Heads of keys and values that are read on several ranks are sent to each
    of them. Elements sent by one of P ranks forward and again backward: (P-1) / P^2 N T (2 H + 2 Hk) D if Hk >= P.
    """

    def __init__(self, heads: Heads, group: Group, parts: TokenParts):
        self.length = parts.length
        every = [share_of(heads, rank, group.size) for rank in range(group.size)]
        self.heads = every[group.rank][0]
        num_heads = heads.num_heads + 2 * heads.num_kv_heads
        self.to_heads = HeadTurn(group, [ranges for _, ranges in every], num_heads, heads.size, parts.lengths)
        widths = [own.num_heads * heads.size for own, _ in every]
        self.to_tokens = Turn(group, 1, 2, parts.lengths, widths)

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the attention output of this rank's tokens."""
        heads, tokens = self.heads, ctx.tokens
        qkv = self.to_heads.forward(x, ctx)
        self._turn(qkv, ctx, tokens.positions, back=False)
        y = ctx.lend(self, "y", (*qkv.shape[:2], heads.num_heads * heads.size))
        log_sum_exp = ctx.empty(self, "log_sum_exp", (len(x), heads.num_heads, self.length), ctx.sum_dtype)
        block = Block(0, 0, self.length, heads.first, heads.total)
        how: Any = tokens.lengths, tokens.segments, heads.masks(ctx), block
        attention(*heads.split(qkv), by_heads(y, heads.size), log_sum_exp, heads.scale, heads.causal, *how)
        ctx[self] = qkv, log_sum_exp, tokens.positions, how, y
        return self.to_tokens.forward(y, ctx)

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return the gradient of x."""
        qkv, log_sum_exp, positions, how, y = ctx[self]
        dy = self.to_tokens.backward(dy, ctx)
        dqkv = ctx.backward.lend(self, "dqkv", qkv.shape)
        parts = *self.heads.split(qkv), log_sum_exp, *self.heads.split(dqkv)
        how = *how, None, by_heads(y, self.heads.size)
        attention_dx(by_heads(dy, self.heads.size), *parts, self.heads.scale, self.heads.causal, *how)
        self._turn(dqkv, ctx, positions, back=True)
        return self.to_heads.backward(dqkv, ctx)

    def running(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield itself, with its moves in it."""
        yield prefix.rstrip("."), self

    def _turn(self, qkv: Any, ctx: Context, positions: Any, *, back: bool) -> None:
        self.heads.turn(qkv, ctx, positions, [(slice(0, self.length), 0)], self.length, back=back)


def share_of(heads: Heads, rank: int, size: int) -> tuple[Heads, list[Range]]:
    """Return the heads of a rank, and where they lie among those of qkv: queries, keys, values.

    Heads of keys and values are divided with those that read them. Where they are fewer than ranks, queries are
    divided, and several ranks get the same keys and values; one for each query where groups do not end with ranks.
    """
    group = heads.num_heads // heads.num_kv_heads
    if heads.num_kv_heads >= size:
        own = share(heads.num_kv_heads, rank, size)
        queries, keys = (own.start * group, own.stop * group), [(own.start, own.stop)]
    else:
        some = share(heads.num_heads, rank, size)
        queries, keys = (some.start, some.stop), _keys_of(some.start, some.stop, group)
    count = sum(stop - start for start, stop in keys)
    ranges = [queries]
    for first in (heads.num_heads, heads.num_heads + heads.num_kv_heads):
        ranges += [(first + start, first + stop) for start, stop in keys]
    made = heads._replace(num_heads=queries[1] - queries[0], num_kv_heads=count, first=heads.first + queries[0])
    return made, ranges


def _keys_of(start: int, stop: int, group: int) -> list[Range]:
    """Return the heads of keys and values that the heads from ``start`` up to ``stop`` read.

    >>> _keys_of(2, 4, 4), _keys_of(2, 6, 4), _keys_of(3, 5, 4), _keys_of(2, 5, 4)
    ([(0, 1)], [(0, 2)], [(0, 2)], [(0, 1), (0, 1), (1, 2)])
    """
    read = [head // group for head in range(start, stop)]
    first, count = read[0], read[-1] + 1 - read[0]
    each = len(read) // count
    if len(read) % count == 0 and read == [first + i // each for i in range(len(read))]:
        return [(first, first + count)]
    return [(head, head + 1) for head in read]
