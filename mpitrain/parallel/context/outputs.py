"""The ends of a network of tokens: the first token, which one rank has, and outputs of all ranks, joined."""

from typing import Any

from ...comm.group import Group
from ...context import Context
from ...device import Buffers
from ...layers import Layer
from ...layers.base import empty_gradient
from ..moves import Move
from ..moves.exchange import flat_size
from .parts import TokenParts


class FirstTokenPart(Layer):
    """y = x[:, 0] on the rank that has the first token, (N, C); on the others y has no rows, (0, C)."""

    def __init__(self, owns: bool):
        self.owns = owns

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return a copy of the vectors."""
        ctx[self] = x.shape
        y = ctx.lend(self, "y", (len(x) if self.owns else 0, x.shape[2]))
        if self.owns:
            y[...] = x[:, 0]
        return y

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return dy for the first tokens, and 0 for the others."""
        dx = ctx.backward.lend(self, "dx", ctx[self])
        dx.fill(0)
        if self.owns:
            dx[:, 0] = dy
        return dx


class GatherTokens(Move):
    """All ranks get the tokens of all, in the order of the row: (N, T_r, ...) -> (N, T, ...); backward is Split.

    Parameters
    ----------
    group : Group
    parts : TokenParts
    """

    inputs, outputs, adjoint = "parts", "one", "Split"

    def __init__(self, group: Group, parts: TokenParts):
        super().__init__(group)
        self.tokens = parts

    def input_shape(self, whole: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of this rank's tokens."""
        return (whole[0], self.tokens.lengths[self.group.rank], *whole[2:])

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the tokens of all ranks."""
        n, _, *rest = x.shape
        each, lengths = n * flat_size(rest), self.tokens.lengths
        parts = [_room(ctx, f"part {r}", (n, length, *rest), x) for r, length in enumerate(lengths)]
        counts = [[length * each for length in lengths]]
        key = (n, *self.tokens.runs, *rest)
        self.exchange.run("all_gather/ring", key, counts, [(self.group.rank, x)], list(enumerate(parts)), like=x)
        y = ctx.lend(self, "y", (n, self.tokens.length, *rest), x.dtype)
        for rank, part in enumerate(parts):
            self.tokens.put(part, rank, y)
        return y

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return this rank's tokens of dy."""
        return self.tokens.take(dy, self.group.rank) if self.needs_dx else empty_gradient(dy)


class GatherRows(Move):
    """All ranks get the rows of all, (n_r, ...) -> (sum of n_r, ...), whose numbers may change; backward is Split."""

    inputs, outputs, adjoint = "parts", "one", "Split"

    def input_shape(self, whole: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of this rank's rows: rank 0 has all of them."""
        return whole if self.group.rank == 0 else (0, *whole[1:])

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the rows of all ranks."""
        lengths = self.group.all_gather(len(x))
        ctx[self] = begin = sum(lengths[: self.group.rank])
        y = ctx.lend(self, "y", (sum(lengths), *x.shape[1:]), x.dtype)
        each, places, start = flat_size(x.shape[1:]), [], 0
        for rank, length in enumerate(lengths):
            places.append((rank, y[start : start + length]))
            start += length
        counts = [[length * each for length in lengths]]
        key = (*lengths, *x.shape[1:])
        self.exchange.run("all_gather/ring", key, counts, [(self.group.rank, x)], places, like=x)
        ctx[self] = slice(begin, begin + len(x))
        return y

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return this rank's rows of dy."""
        return dy[ctx[self]].copy() if self.needs_dx else empty_gradient(dy)


def _room(buffers: Buffers, name: str, shape: tuple[int, ...], like: Any) -> Any:
    return buffers.lend(like, name, shape, like.dtype)
