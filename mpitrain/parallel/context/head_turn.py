"""HeadTurn: all-to-all from tokens divided to heads divided, where ranks may need the same heads."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...comm.group import Group
from ...context import Context
from ...layers.base import empty_gradient
from ..moves import Move
from ..moves.exchange import ALL_TO_ALL
from ..moves.move import slices_of
from .heads import rounded

Range = tuple[int, int]


class HeadTurn(Move):
    """All tokens of some heads: x (N, T_r, A D) -> y (N, T, A_r D); backward adds up what several ranks have.

    Parameters
    ----------
    group : Group
    heads : sequence of sequence of (start, stop)
        The heads that each rank gets, of A, in the order in which it has them; any of them for several ranks.
    num_heads, size : int
        A and D.
    lengths : sequence of int
        T_r of each rank: tokens that are neighbors.
    """

    adjoint = "HeadTurn back"

    def __init__(
        self, group: Group, heads: Sequence[Sequence[Range]], num_heads: int, size: int, lengths: Sequence[int]
    ):
        super().__init__(group)
        self.heads, self.num_heads, self.size = [list(ranges) for ranges in heads], num_heads, size
        self.lengths = list(lengths)
        self._tokens = slices_of(self.lengths, group.size)
        self._widths = [sum(stop - start for start, stop in ranges) for ranges in heads]
        self._adds = sum(self._widths) > num_heads  # gradients of several ranks, in fp32

    def input_shape(self, whole: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of this rank's x."""
        return whole[0], self.lengths[self.group.rank], self.num_heads * self.size

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return all tokens of this rank's heads."""
        n, rank = len(x), self.group.rank
        whole = x.reshape(n, self.lengths[rank], self.num_heads, self.size)
        y = ctx.lend(self, "y", (n, sum(self.lengths), self._widths[rank], self.size), x.dtype)
        put = [(r, self._joined([whole[:, :, a:b] for a, b in ranges])) for r, ranges in enumerate(self.heads)]
        take = [(r, y[:, part]) for r, part in enumerate(self._tokens)]
        self._send("forward", put, take, x)
        return y.reshape(*y.shape[:2], self._widths[rank] * self.size)

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return the gradients of all heads of this rank's tokens, added up."""
        if not self.needs_dx:
            return empty_gradient(dy)
        n, rank = len(dy), self.group.rank
        whole = dy.reshape(n, sum(self.lengths), self._widths[rank], self.size)
        put = [(r, whole[:, part]) for r, part in enumerate(self._tokens)]
        sizes = [(n, self.lengths[rank], width, self.size) for width in self._widths]
        take = [(r, ctx.backward.lend(self, f"from {r}", shape, dy.dtype)) for r, shape in enumerate(sizes)]
        self._send("backward", put, take, dy)
        shape = n, self.lengths[rank], self.num_heads, self.size
        sums = ctx.backward.lend(self, "sums", shape, ctx.sum_dtype if self._adds else dy.dtype)
        sums.fill(0)
        for ranges, (_, part) in zip(self.heads, take, strict=True):
            begin = 0
            for start, stop in ranges:
                sums[:, :, start:stop] += part[:, :, begin : begin + stop - start]
                begin += stop - start
        dx = rounded(sums, ctx.backward, self, "dx", dy.dtype)
        return dx.reshape(n, self.lengths[rank], self.num_heads * self.size)

    def _send(self, direction: str, put: list[tuple[int, Any]], take: list[tuple[int, Any]], like: Any) -> None:
        counts = [[int(array.size) for _, array in chunks] for chunks in (put, take)]
        key = direction, len(like), self.size, *self.lengths, *map(tuple, self.heads)
        self.exchange.run(ALL_TO_ALL, key, counts, put, take, like=like)

    @staticmethod
    def _joined(parts: list[Any]) -> Any:
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
