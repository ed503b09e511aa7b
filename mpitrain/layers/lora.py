"""Low-rank adapters of Linears: LoRA (Hu et al. 2021, arXiv 2106.09685)."""

import re
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import partial

import numpy as np

from ..context import Context
from ..ops.elementwise import add
from ..ops.linear import linear, linear_dw, linear_dx
from ..parameter import Parameter, Shard
from . import init
from .base import Layer, empty_gradient
from .dropout import Dropout
from .linear import Linear, as_rows

ADAPTER = re.compile(r"(?:^|\.)lora(?:_\w+)?\.[ab]$")
"""Names of the parameters of adapters."""


class Adapter(Layer):
    """y = scale (x a) b, the change of a Linear's result; 0 at first.

    Parameters
    ----------
    num_inputs, rank, num_outputs : int
        I, r and O.
    scale : float

    Notes
    -----
    x (N, I), a (I, r) and b (r, O), y (N, O). With u = scale x a and du = scale dy b^T,

        db = u^T dy,    da = x^T du,    dx = du a^T.
    """

    def __init__(self, num_inputs: int, rank: int, num_outputs: int, scale: float):
        self.rank, self.num_outputs, self.scale = rank, num_outputs, scale
        self.a = Parameter((num_inputs, rank), init.lecun_uniform(num_inputs))
        self.b = Parameter((rank, num_outputs), init.zeros)

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return y."""
        u = ctx.lend(self, "u", (len(x), self.rank))
        y: np.ndarray = ctx.lend(self, "y", (len(x), self.num_outputs))
        linear(x, self.a.data, None, u, False)
        np.multiply(u, self.scale, out=u)
        linear(u, self.b.data, None, y, False)
        ctx[self] = x, u
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write da and db, or put them off; return dx."""
        x, u = ctx[self]
        du = ctx.backward.lend(self, "du", u.shape)
        if self.needs_dx or not self.a.frozen:
            linear_dx(dy, self.b.data, du)
            np.multiply(du, self.scale, out=du)
        if ctx.later is None:
            self._put_gradients(x, u, du, dy)
        else:
            ctx.later.append(partial(self._put_gradients, x, u, du, dy))
        if not self.needs_dx:
            return empty_gradient(dy)
        dx: np.ndarray = ctx.backward.lend(self, "dx", x.shape)
        linear_dx(du, self.a.data, dx)
        return dx

    def part(self, shard: Shard, span: slice) -> "Adapter":
        """Return the part of a Linear's part; ``span`` is that of this adapter among the outputs of the Linear.

        Of some inputs (dimension 0), a is a part, and of some outputs (1) b; the gradient of the other is a sum over
        all parts.
        """
        made = copy(self)
        if shard.dim == 0:
            made.a = self.a.part(shard)
        else:
            own = _within(shard, span)
            made.b = self.b.part(replace(shard, ranges=tuple((a - span.start, b - span.start) for a, b in own)))
            made.num_outputs = made.b.shape[1]
        return made

    def _put_gradients(self, x: np.ndarray, u: np.ndarray, du: np.ndarray, dy: np.ndarray) -> None:
        for p, left, right in ((self.b, u, dy), (self.a, x, du)):
            if not p.frozen:
                linear_dw(left, right, p.grad, p.accumulate)
                p.written()


class LoRALinear(Linear):
    """y = x w + b + scale (drop(x) A) B, in the place of a Linear, whose parameters it has under their names.

    Parameters
    ----------
    linear : Linear
    rank : int
    scale : float
        alpha / rank.
    dropout : float
        Probability that a number is dropped from what the adapters read.
    parts : sequence of str
        Names among ``linear.parts``, each of which gets an adapter of its own; one for all outputs by default.

    Notes
    -----
    A begins with draws as in a Linear, B with 0, so that y begins as that of the Linear. Parameters are ``lora.a`` and
    ``lora.b``, or ``lora_q.a`` for the part q. They are trained alone where w and b are frozen (``Parameter.frozen``).
    """

    def __init__(self, linear: Linear, rank: int, scale: float, *, dropout: float = 0.0, parts: Sequence[str] = ()):
        self.num_inputs, self.num_outputs, self.parts = linear.num_inputs, linear.num_outputs, linear.parts
        self.weight, self.bias = linear.weight, linear.bias
        self.needs_dx = linear.needs_dx
        self.dropout = Dropout(dropout) if dropout else None
        spans = linear.spans()
        self.spans_of: dict[str, tuple[int, int]] = {f"lora_{name}": spans[name] for name in parts}
        if not parts:
            self.spans_of["lora"] = 0, linear.num_outputs
        for name, (start, stop) in self.spans_of.items():
            setattr(self, name, Adapter(linear.num_inputs, rank, stop - start, scale))

    def without_adapters(self) -> Linear:
        """Return a Linear with the same parameters."""
        made = Linear.__new__(Linear)
        made.num_inputs, made.num_outputs, made.parts = self.num_inputs, self.num_outputs, self.parts
        made.weight, made.bias, made.needs_dx = self.weight, self.bias, self.needs_dx
        return made

    def part(self, shard: Shard) -> "LoRALinear":
        """Return the layer of some of the inputs or outputs, as ``Linear.part``, with the parts of its adapters."""
        made = copy(self)
        made.num_inputs, made.num_outputs = shard.shape(self.weight.full_shape)
        made.weight = self.weight.part(shard)
        made.bias = None if self.bias is None or shard.dim == 0 else self.bias.part(replace(shard, dim=0))
        if self.dropout is not None and shard.dim == 0:
            made.dropout = self.dropout.part(partial(_place, replace(shard, dim=-1), self.num_inputs))
        made.spans_of = {}
        for name, adapter, span in self.adapters():
            one = adapter.part(shard, span)
            setattr(made, name, one)
            before = [(0, span.start)] if shard.dim == 0 else _within(shard, slice(0, span.start))
            start = sum(b - a for a, b in before)
            made.spans_of[name] = start, start + one.num_outputs
        return made

    def adapters(self) -> Iterator[tuple[str, Adapter, slice]]:
        """Yield the name of each adapter, itself, and its outputs among those of the Linear."""
        for name, span in self.spans_of.items():
            yield name, vars(self)[name], slice(*span)

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this and of the adapters."""
        self.needs_dx = needed
        for _, adapter, _ in self.adapters():
            adapter.ask_dx(needed)

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return y."""
        y = super().forward(x, ctx)
        rows = as_rows(y)
        read = as_rows(x if self.dropout is None else self.dropout.forward(x, ctx))
        for _, adapter, span in self.adapters():
            part = rows[:, span]
            np.add(part, adapter.forward(read, ctx), out=part)
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write the gradients of what is trained, or put them off; return dx."""
        dx = super().backward(dy, ctx)
        rows, shape = as_rows(dy), ctx[self][1]
        total: np.ndarray | None = None
        for name, adapter, span in self.adapters():
            adapter.needs_dx = self.needs_dx
            part = rows
            if span != slice(0, self.num_outputs):
                part = ctx.backward.lend(self, name, (len(rows), adapter.num_outputs))
                part[...] = rows[:, span]
            more = adapter.backward(part, ctx)
            if self.needs_dx:
                total = more if total is None else _sum(total, more)
        if total is None:
            return empty_gradient(dy)
        more = total.reshape(shape)
        return _sum(dx, more if self.dropout is None else self.dropout.backward(more, ctx))

    def running(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield itself, with its adapters in it."""
        yield prefix.rstrip("."), self


def _within(shard: Shard, span: slice) -> list[tuple[int, int]]:
    """Return the ranges of a part that lie in a span."""
    cut = [(max(a, span.start), min(b, span.stop)) for a, b in shard.ranges]
    return [(a, b) for a, b in cut if a < b]


def _place(shard: Shard, length: int) -> tuple[Shard, int]:
    return shard, length


def _sum(total: np.ndarray, more: np.ndarray) -> np.ndarray:
    add(total, more, total)
    return total
