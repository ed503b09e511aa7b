"""Linear layers divided by outputs or by inputs, any number of them on any number of ranks."""

from functools import partial
from typing import Any

import numpy as np

from ...comm.group import Group
from ...comm.world import World, data_group
from ...context import Context
from ...layers.base import Layer, empty_gradient
from ...layers.linear import Linear, as_rows
from ...ops.reduce import column_sum
from ...parameter import Parameter, Shard
from ..moves import Copy, Gather, Split, Sum
from .divided import Divided


class ColumnLinear(Divided):
    """y = x w + b with w cut by columns: each rank computes its part of the outputs.

    Parameters
    ----------
    group : Group or World
    num_inputs, num_outputs : int
        I and O of the whole layer.
    bias : bool
    gather : bool
        Join the parts of y; otherwise y stays divided, for a RowLinear.

    Notes
    -----
    x is (..., I), the same on all ranks; w (I, O_r), b (O_r,), y (..., O_r). Shoeybi et al. 2019, "Megatron-LM", arXiv
    1909.08053. Messages: dx (..., I) is summed in backward.
    """

    def __init__(
        self, group: Group | World, num_inputs: int, num_outputs: int, bias: bool = True, *, gather: bool = False
    ):
        group = data_group(group)
        shard = Shard.even(1, num_outputs, group.rank, group.size)
        local = Linear(num_inputs, num_outputs, bias).part(shard)
        super().__init__(Copy(group), local, *([Gather(group, -1, num_outputs)] if gather else []))


class RowLinear(Divided):
    """y = x w + b with w cut by rows: each rank multiplies its part of the inputs, and the products are summed.

    Parameters
    ----------
    group : Group or World
    num_inputs, num_outputs : int
        I and O of the whole layer.
    bias : bool
        On every rank alike, added once, after the sum.
    split : bool
        x is the same on all ranks, and each takes its part; otherwise x is divided already, by a ColumnLinear.

    Notes
    -----
    x is (..., I_r), w (I_r, O), b (O,), y (..., O), the same on all ranks. The gradient of b is the whole one on every
    rank: it is not summed over them. Messages: y is summed in forward.
    """

    def __init__(
        self, group: Group | World, num_inputs: int, num_outputs: int, bias: bool = True, *, split: bool = False
    ):
        group = data_group(group)
        whole = Linear(num_inputs, num_outputs, bias)
        local = whole.part(Shard.even(0, num_inputs, group.rank, group.size))
        cut = [Split(group, -1, num_inputs)] if split else []
        super().__init__(*cut, local, Sum(group), *([] if whole.bias is None else [Bias(whole.bias)]))


class Bias(Layer):
    """y = x + b, with x (..., O) and b (O,); db = sum of dy over rows."""

    def __init__(self, bias: Parameter):
        self.bias = bias

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return x + b."""
        y = ctx.lend(self, "y", x.shape, x.dtype)
        np.add(x, self.bias.data, out=y)
        return y

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Write db, or put it off; return dy."""
        rows = as_rows(dy)
        if ctx.later is None:
            self._put_gradient(rows)
        elif self.trains:
            ctx.later.append(partial(self._put_gradient, rows))
        return dy if self.needs_dx else empty_gradient(dy)

    def _put_gradient(self, rows: Any) -> None:
        if not self.bias.frozen:
            column_sum(rows, self.bias.grad, self.bias.accumulate)
            self.bias.written()
