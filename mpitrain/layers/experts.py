"""Networks of two linear maps side by side, each for the rows that are routed to it."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from ..context import Context
from ..ops.gradient import Gradient
from ..ops.linear import linear, linear_dw, linear_dx, linear_dx_gelu, linear_gelu
from ..ops.reduce import column_sum
from ..parameter import Parameter, Shard
from . import init
from .activations import GELU, SwiGLU
from .base import Layer, empty_gradient


class Experts(Layer):
    """y = f(x w1[e] + b1[e]) w2[e] + b2[e] for the rows x of each expert e.

    Parameters
    ----------
    num_experts, width, hidden : int
        E, C and H.
    activation : GELU or SwiGLU
        f. A SwiGLU makes H numbers of 2 H.
    bias : bool

    Attributes
    ----------
    num_local : int
        Experts of this layer: all, or those of a part.

    Notes
    -----
    x and y are (R, C), rows in the order of their experts; ``expect`` sets how many rows each expert has, before
    forward. w1 is (E, C, H), b1 (E, H), w2 (E, H, C), b2 (E, C), with 2 H for H in w1 and b1 of a SwiGLU. An expert
    without rows has the gradient 0. Each expert is a product of matrices on a slice of the rows, which are not copied
    or padded (Gale et al. 2022, "MegaBlocks", arXiv 2211.15841).
    """

    per_token = True

    def __init__(self, num_experts: int, width: int, hidden: int, activation: GELU | SwiGLU, bias: bool = True):
        self.num_experts = self.num_local = num_experts
        self.width, self.hidden = width, hidden
        inside = 2 * hidden if isinstance(activation, SwiGLU) else hidden
        self.weight1 = Parameter((num_experts, width, inside), init.lecun_uniform(width))
        self.bias1 = self._bias(inside, width) if bias else None
        self.activation = activation
        self.weight2 = Parameter((num_experts, hidden, width), init.lecun_uniform(hidden))
        self.bias2 = self._bias(width, hidden) if bias else None

    def _bias(self, size: int, num_inputs: int) -> Parameter:
        return Parameter((self.num_experts, size), init.lecun_uniform(num_inputs), decay=False)

    def part(self, shard: Shard) -> "Experts":
        """Return some of the experts, with parts of these parameters and the initial values that they have here."""
        made = Experts(self.num_experts, self.width, self.hidden, self.activation, bias=self.bias1 is not None)
        made.needs_dx = self.needs_dx
        for name, p in list(self.named_parameters()):
            part = Parameter(p.full_shape, p.init, shard=shard, decay=p.decay)
            part.frozen = p.frozen
            setattr(made, name, part)
        made.num_local = made.weight1.shape[0]
        return made

    def expect(self, counts: Sequence[int], ctx: Context) -> None:
        """Set the number of rows of each expert in this microbatch; call it before forward."""
        if len(counts) != self.num_local:
            raise ValueError(f"Experts: {len(counts)} numbers of rows for {self.num_local} experts")
        ctx[self, "rows"] = [slice(*ends) for ends in pairwise(accumulate(counts, initial=0))]

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the results of all rows."""
        parts: list[slice] = ctx[self, "rows"]
        inside = self.weight1.shape[2]
        if isinstance(self.activation, GELU):
            h: np.ndarray = ctx.lend(self, "h", (len(x), inside))
            kept: Any = list(self._gelu(x, h, parts, ctx))
        else:
            z: np.ndarray = ctx.lend(self, "z", (len(x), inside))
            self._products(x, self.weight1, self.bias1, z, parts)
            h, kept = self.activation.forward(z, ctx), None
        y: np.ndarray = ctx.lend(self, "y", x.shape)
        self._products(h, self.weight2, self.bias2, y, parts)
        ctx[self] = x, h, kept, parts
        return y

    def _gelu(self, x: np.ndarray, h: np.ndarray, parts: Sequence[slice], ctx: Context) -> Iterator[Any]:
        """Write h = gelu(x w1 + b1); yield for each expert the array that backward needs."""
        assert isinstance(self.activation, GELU)
        kept: np.ndarray = ctx.lend(self, "kept", h.shape)
        for e, rows in enumerate(parts):
            b = None if self.bias1 is None else self.bias1.data[e]
            memory = partial(_memory, kept[rows])
            yield linear_gelu(x[rows], self.weight1.data[e], b, h[rows], self.activation.op_name, memory)

    def _products(
        self, x: np.ndarray, weight: Parameter, bias: Parameter | None, y: np.ndarray, parts: Sequence[slice]
    ) -> None:
        for e, rows in enumerate(parts):
            linear(x[rows], weight.data[e], None if bias is None else bias.data[e], y[rows], False)

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write the gradients of all experts, or put them off; return dx.

        With a GELU, db1 is not put off, as a sum in the pass that writes the gradient of its argument.
        """
        x, h, kept, parts = ctx[self]
        if kept is None:
            dh: np.ndarray = ctx.backward.lend(self, "dh", h.shape)
            self._products_dx(dy, self.weight2, dh, parts)
            dz = self.activation.backward(dh, ctx)
        else:
            dz = ctx.backward.lend(self, "dz", h.shape)
            self._gelu_dx(dy, kept, dz, parts)
        if ctx.later is None:
            self._put_gradients(x, h, dz, dy, parts, with_bias1=kept is None)
        elif self.trains:
            ctx.later.append(partial(self._put_gradients, x, h, dz, dy, parts, with_bias1=kept is None))
        if not self.needs_dx:
            return empty_gradient(dy)
        dx: np.ndarray = ctx.backward.lend(self, "dx", x.shape)
        self._products_dx(dz, self.weight1, dx, parts)
        return dx

    def _gelu_dx(self, dy: np.ndarray, kept: Sequence[Any], dz: np.ndarray, parts: Sequence[slice]) -> None:
        assert isinstance(self.activation, GELU)
        bias = None if self.bias1 is None or self.bias1.frozen else self.bias1
        for e, rows in enumerate(parts):
            db = None if bias is None else Gradient(bias.grad[e], bias.accumulate)
            linear_dx_gelu(dy[rows], self.weight2.data[e], kept[e], dz[rows], db, self.activation.op_name)
        if bias is not None:
            bias.written()

    def _products_dx(self, dy: np.ndarray, weight: Parameter, dx: np.ndarray, parts: Sequence[slice]) -> None:
        for e, rows in enumerate(parts):
            linear_dx(dy[rows], weight.data[e], dx[rows])

    def _put_gradients(
        self,
        x: np.ndarray,
        h: np.ndarray,
        dz: np.ndarray,
        dy: np.ndarray,
        parts: Sequence[slice],
        *,
        with_bias1: bool,
    ) -> None:
        _put(self.weight2, self.bias2, h, dy, parts)
        _put(self.weight1, self.bias1 if with_bias1 else None, x, dz, parts)


def _put(weight: Parameter, bias: Parameter | None, x: np.ndarray, dy: np.ndarray, parts: Sequence[slice]) -> None:
    """Write dw = x^T dy and db = the sum of dy over the rows of each expert; those that are trained."""
    if bias is not None and not bias.frozen:
        for e, rows in enumerate(parts):
            column_sum(dy[rows], bias.grad[e], bias.accumulate)
        bias.written()
    if not weight.frozen:
        for e, rows in enumerate(parts):
            linear_dw(x[rows], dy[rows], weight.grad[e], weight.accumulate)
        weight.written()


def _memory(part: np.ndarray, name: str, shape: tuple[int, ...], dtype: Any = None) -> np.ndarray:
    """Return the memory that an op keeps for backward, whatever it calls it."""
    return part
