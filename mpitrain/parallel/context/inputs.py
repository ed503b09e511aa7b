"""The first layer of a network of tokens, for the tokens of one rank: all ranks get the same whole rows."""

from collections.abc import Iterator
from typing import Any

from ...context import Context
from ...errors import UserError
from ...layers import Layer, PatchEmbedding, TokenEmbedding
from ...layers.base import empty_gradient
from ...ops.reduce import column_sum
from .parts import TokenParts


class _Part(Layer):
    """Base class: ``layer`` for the tokens of one rank, under its name.

    Parameters
    ----------
    layer : Layer
    parts : TokenParts
    rank : int
    """

    def __init__(self, layer: Layer, parts: TokenParts, rank: int):
        self.layer: Any = layer
        self.tokens, self.rank = parts, rank

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this and of the layer."""
        self.needs_dx = needed
        self.layer.ask_dx(needed)

    def diagnose(self, x: Any) -> str:
        """Return the error in inputs."""
        found: str = self.layer.diagnose(x)
        return found

    def running(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield itself."""
        yield prefix.rstrip("."), self

    def _named(self, prefix: str, kind: type) -> Iterator[tuple[str, Any]]:
        yield from self.layer._named(prefix, kind)


class TokenEmbeddingPart(_Part):
    """A TokenEmbedding: x (N, T), y (N, T_r, C). ``ctx.tokens`` are the facts about whole rows."""

    layer: TokenEmbedding

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the vectors of this rank's tokens."""
        if x.ndim != 2 or x.shape[1] != self.tokens.length:
            raise UserError(f"axis context has divided rows of {self.tokens.length} tokens, but x is {x.shape}")
        if ctx.cache is not None:
            raise UserError("a model divided over axis context does not read a text in pieces")
        return self.layer.forward_part(x, lambda whole: self.tokens.take(whole, self.rank), ctx)

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Write the gradients of all tables, or put them off."""
        return self.layer.backward(dy, ctx)


class PatchEmbeddingPart(_Part):
    """A PatchEmbedding: x (N, H, W, channels), y (N, T_r, C). There is no dx.

    The rank with token 0 has the class token; others have the patches of their tokens alone.
    """

    layer: PatchEmbedding

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the vectors of this rank's tokens."""
        layer, project = self.layer, self.layer.project
        rows = ctx.lend(self, "patches", (len(x), self.tokens.length - 1, project.num_inputs))
        patches = layer.patches_of(x)
        rows.reshape(patches.shape)[...] = patches
        y = ctx.lend(self, "y", (len(x), self.tokens.lengths[self.rank], layer.size))
        places = self.tokens.places(self.rank)
        first = self._first
        own = ctx.lend(self, "own", (len(x), y.shape[1] - first, project.num_inputs))
        for run, start in places:
            skip = first if run.start == 0 else 0  # the class token, which is no patch
            begin = start + skip - 1
            count = run.stop - run.start - skip
            own[:, run.start + skip - first : run.stop - first] = rows[:, begin : begin + count]
        y[:, first:] = project.forward(own, ctx)
        for run, start in places:
            y[:, run] += layer.positions.data[start : start + run.stop - run.start]
        if first:
            y[:, 0] = layer.token.data + layer.positions.data[0]
        return y

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Write the gradients, or put that of w off."""
        layer, first = self.layer, self._first
        self._put_positions(dy, ctx)
        if not layer.token.frozen:
            if first:
                row = ctx.backward.lend(self, "first", (len(dy), layer.size))
                row[...] = dy[:, 0]
                column_sum(row, layer.token.grad, layer.token.accumulate)
            elif not layer.token.accumulate:
                layer.token.grad.fill(0)
            layer.token.written()
        if layer.project.trains:
            rest = ctx.backward.lend(self, "rest", (len(dy), dy.shape[1] - first, layer.size))
            rest[...] = dy[:, first:]
            layer.project.needs_dx = False
            layer.project.backward(rest, ctx)
        return empty_gradient(dy)

    @property
    def _first(self) -> int:
        """1 if this rank has the class token, else 0."""
        runs = self.tokens.runs[self.rank]
        return int(bool(runs) and runs[0][0] == 0)

    def _put_positions(self, dy: Any, ctx: Context) -> None:
        p = self.layer.positions
        if p.frozen:
            return
        if not p.accumulate:
            p.grad.fill(0)
        size = self.layer.size
        for run, start in self.tokens.places(self.rank):
            count = run.stop - run.start
            rows = ctx.backward.lend(self, "rows", (len(dy), count * size))
            rows.reshape(len(dy), count, size)[...] = dy[:, run]
            column_sum(rows, p.grad[start : start + count].reshape(-1), True)
        p.written()


class InputPart(_Part):
    """Any layer that takes tokens one by one: x (N, T, ...) is cut before it. There is no dx."""

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the results for this rank's tokens."""
        if x.ndim < 2 or x.shape[1] != self.tokens.length:
            raise UserError(f"axis context has divided rows of {self.tokens.length} tokens, but x is {x.shape}")
        return self.layer.forward(self.tokens.take(x, self.rank), ctx)

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Write the gradients of the layer, or put them off."""
        return empty_gradient(self.layer.backward(dy, ctx))
