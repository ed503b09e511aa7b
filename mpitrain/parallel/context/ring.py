"""Ring attention: keys and values go round, and each rank adds what its queries see of them.

Liu et al. 2023, arXiv 2310.01889. Shapes: N samples, H heads in groups that share one of Hk heads of keys and values, D
their size; T tokens in a row, of which rank r has T_r in runs of neighbors, and no rank more than M. Keys and values
travel side by side, (N, M, 2 Hk, D), filled up where a rank has fewer: all messages have one length, and one plan.

Step s of P: rank r has the keys and values of rank r - s. It sends them on to rank r + 1 while it computes with them.
In backward their gradients follow them, one step behind, and arrive at home after P steps.

Where activations are bf16, so are keys and values on their way, and the results of a pair. What is added up over the
steps is fp32: y, dq, and the gradients that travel, which would else be rounded P times.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ...comm.group import Group
from ...context import Context
from ...layers import Layer
from ...ops.attention import Block, attention, attention_dx, merge
from ..moves.exchange import ALL_TO_ALL, Exchange, Planned
from .heads import Heads, by_heads, rounded
from .parts import TokenParts

Masking = tuple[Any, Any, Any]
"""Lengths and segments of rows, and masks of dropout, as attention takes them."""


class Pair(NamedTuple):
    """A run of queries and a run of keys, of which some see some.

    Attributes
    ----------
    number : int
        Of the run of queries.
    queries, keys : slice
        Their places among the tokens of their ranks.
    block : Block
    causal : bool
        False where all queries see all keys.
    """

    number: int
    queries: slice
    keys: slice
    block: Block
    causal: bool


class RingAttention(Layer):
    """Attention of this rank's queries to the keys and values of all ranks.

    Parameters
    ----------
    heads : Heads
    group : Group
    parts : TokenParts

    Notes
    -----
    x (N, T_r, (H + 2 Hk) D), y (N, T_r, H D). Elements sent by a rank: (P-1) N M 2 Hk D forward, and
    (2 P - 1) N M 2 Hk D backward.
    """

    def __init__(self, heads: Heads, group: Group, parts: TokenParts):
        self.heads, self.group, self.tokens = heads, group, parts
        self.exchange = Exchange(group, "ring attention")
        self.runs = parts.places(group.rank)
        self.most = max(parts.lengths)
        self.pairs = [self._pairs((group.rank - step) % group.size) for step in range(group.size)]

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the attention output of this rank's tokens."""
        heads, tokens = self.heads, ctx.tokens
        positions = None if tokens.positions is None else self.tokens.take(tokens.positions, self.group.rank)
        self._turn(x, ctx, positions, back=False)
        how: Masking = tokens.lengths, tokens.segments, heads.masks(ctx)
        q = heads.split(x)[0]
        n, length, _ = x.shape
        shape = n, length, heads.num_heads * heads.size
        sums = ctx.lend(self, "y", shape, ctx.sum_dtype)
        shapes = [(n, heads.num_heads, _count(run)) for run, _ in self.runs]
        logs = [ctx.empty(self, f"log {i}", shape, ctx.sum_dtype) for i, shape in enumerate(shapes)]
        travelers = self._own_keys(x, ctx)
        for step, pairs in enumerate(self.pairs):
            sent = self._send("keys", travelers) if step < self.group.size - 1 else None
            k, v = self._split(travelers)
            for pair in pairs:
                first = step == 0 and pair.keys == pair.queries  # the first to write, since tokens see themselves
                self._see(pair, q, k, v, by_heads(sums, heads.size), logs, how, ctx, merges=not first)
                _poll(sent)
            if sent is not None:
                self._arrive(sent, travelers)
        y = rounded(sums, ctx, self, "rounded y", x.dtype)
        ctx[self] = x, y, logs, positions, how
        return y

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return the gradient of x."""
        x, y, logs, positions, how = ctx[self]
        heads, size = self.heads, self.group.size
        sums = ctx.backward.lend(self, "dx", x.shape, ctx.sum_dtype)
        sums.fill(0)
        q, (dq, dk, dv) = heads.split(x)[0], heads.split(sums)
        dy, y = by_heads(dy, heads.size), by_heads(y, heads.size)
        deltas = self._deltas(dy, y, logs, ctx)
        travelers, back = self._own_keys(x, ctx.backward), None
        more = ctx.backward.lend(self, "arrived", travelers.shape, ctx.sum_dtype)
        for step, pairs in enumerate(self.pairs):
            sent = self._send("keys", travelers) if step < size - 1 else None
            gradients = ctx.backward.lend(self, "gradients", travelers.shape, ctx.sum_dtype)
            gradients.fill(0)
            k, v, found = *self._split(travelers), self._split(gradients)
            for pair in pairs:
                parts = dy, q, k, v, logs[pair.number], deltas[pair.number]
                self._see_back(pair, parts, (dq, *found), how, ctx)
                _poll(sent)
            if back is not None:
                self._arrive(back, more)
                gradients += more
            back = self._send("gradients", gradients) if size > 1 else None
            if sent is not None:
                self._arrive(sent, travelers)
        if back is not None:
            self._arrive(back, gradients)
        for mine, whole in zip((dk, dv), self._split(gradients), strict=True):
            mine[...] = whole[:, :, : mine.shape[2]]
        dx = rounded(sums, ctx.backward, self, "rounded dx", x.dtype)
        self._turn(dx, ctx, positions, back=True)
        return dx

    def running(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield itself."""
        yield prefix.rstrip("."), self

    def free(self) -> None:
        """Release the plans of its messages; all ranks call it together."""
        self.exchange.free()

    def _pairs(self, source: int) -> list[Pair]:
        """Return the runs of this rank and of ``source`` of which some queries see some keys; its own runs first."""
        found = []
        for number, (queries, query) in enumerate(self.runs):
            for keys, key in self.tokens.places(source):
                last_query, last_key = query + _count(queries) - 1, key + _count(keys) - 1
                if self.heads.causal and key > last_query:
                    continue
                block = Block(query, key, self.tokens.length, self.heads.first, self.heads.total)
                found.append(Pair(number, queries, keys, block, self.heads.causal and last_key > query))
        return sorted(found, key=lambda pair: pair.queries != pair.keys)

    def _see(
        self,
        pair: Pair,
        q: Any,
        k: Any,
        v: Any,
        y: Any,
        logs: list[Any],
        how: Masking,
        ctx: Context,
        *,
        merges: bool,
    ) -> None:
        """Compute a pair, and write its results, or merge them into those so far."""
        of_pair = q[:, :, pair.queries], k[:, :, pair.keys], v[:, :, pair.keys]
        whole, log = y[:, :, pair.queries], logs[pair.number]
        part, log_of_part = whole, log
        if merges or q.dtype != whole.dtype:
            n, heads, count, size = whole.shape
            part = by_heads(ctx.lend(self, "part", (n, count, heads * size), q.dtype), size)
        if merges:
            log_of_part = ctx.lend(self, "log of part", log.shape, log.dtype)
        attention(*of_pair, part, log_of_part, self.heads.scale, pair.causal, *how, pair.block)
        if merges:
            merge(whole, log, part, log_of_part)
        elif part is not whole:
            whole[...] = part

    def _see_back(self, pair: Pair, parts: tuple[Any, ...], found: tuple[Any, ...], how: Masking, ctx: Context) -> None:
        """Add the gradients of a pair, given dy, q, k, v, log_sum_exp and delta, to dq, dk and dv."""
        dy, q, k, v, log, delta = parts
        places = pair.queries, pair.keys, pair.keys
        wholes = [array[:, :, place] for array, place in zip(found, places, strict=True)]
        made = []
        for name, whole in zip(("dq", "dk", "dv"), wholes, strict=True):
            n, heads, count, size = whole.shape
            made.append(by_heads(ctx.backward.lend(self, name, (n, count, heads * size), q.dtype), size))
        of_pair = dy[:, :, pair.queries], q[:, :, pair.queries], k[:, :, pair.keys], v[:, :, pair.keys]
        dq, dk, dv = made
        attention_dx(*of_pair, log, dq, dk, dv, self.heads.scale, pair.causal, *how, pair.block, delta)
        for whole, part in zip(wholes, made, strict=True):
            whole += part

    def _deltas(self, dy: Any, y: Any, logs: list[Any], ctx: Context) -> list[Any]:
        """Return the sums of dy y over each row, (N, H, tokens of a run) for each run."""
        n, heads, length, size = y.shape
        products = by_heads(ctx.backward.lend(self, "products", (n, length, heads * size), ctx.sum_dtype), size)
        np.multiply(dy, y, out=products, dtype=products.dtype)
        deltas = [ctx.backward.lend(self, f"delta {i}", log.shape, log.dtype) for i, log in enumerate(logs)]
        for (run, _), delta in zip(self.runs, deltas, strict=True):
            np.sum(products[:, :, run], axis=3, out=delta)
        return deltas

    def _own_keys(self, x: Any, buffers: Any) -> Any:
        """Return a copy of this rank's keys and values, (N, M, 2 Hk, D)."""
        n, length, _ = x.shape
        first, count = self.heads.num_heads, 2 * self.heads.num_kv_heads
        room = buffers.lend(self, "travelers", (n, self.most, count, self.heads.size), x.dtype)
        room[:, :length] = x.reshape(n, length, first + count, self.heads.size)[:, :, first:]
        room[:, length:] = 0
        return room

    def _split(self, travelers: Any) -> tuple[Any, Any]:
        """Return k and v (N, Hk, M, D)."""
        heads, count = travelers.swapaxes(1, 2), self.heads.num_kv_heads
        return heads[:, :count], heads[:, count:]

    def _send(self, name: str, array: Any) -> Planned:
        """Begin to send an array to the next rank, and to receive one from the rank before."""
        rank, size = self.group.rank, self.group.size
        counts = [[array.size if r == (rank + by) % size else 0 for r in range(size)] for by in (1, -1)]
        return self.exchange.start(ALL_TO_ALL, (name, array.shape), counts, [((rank + 1) % size, array)], like=array)

    def _arrive(self, sent: Planned, array: Any) -> None:
        self.exchange.finish(sent, [((self.group.rank - 1) % self.group.size, array)])

    def _turn(self, x: Any, ctx: Context, positions: Any, *, back: bool) -> None:
        self.heads.turn(x, ctx, positions, self.runs, self.tokens.length, back=back)


def _count(run: slice) -> int:
    return int(run.stop - run.start)


def _poll(sent: Planned | None) -> None:
    if sent is not None:
        sent.plan.poll()
