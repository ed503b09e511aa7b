"""Linear and Conv2d layers divided by their outputs or their inputs, of layers that exist already."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from ...comm.group import Group
from ...layers import Conv2d, Layer, Linear, LoRALinear
from ...parameter import Parameter
from ..moves import AllGather, Copy, Sum
from .cut import Cut
from .divided import Divided
from .linear import Bias

Product = Linear | Conv2d


def num_inputs(layer: Product) -> int:
    """Return the features or channels of x."""
    return layer.num_inputs if isinstance(layer, Linear) else layer.in_channels


def num_outputs(layer: Product) -> int:
    """Return the features or channels of y."""
    return layer.num_outputs if isinstance(layer, Linear) else layer.out_channels


class Ends(NamedTuple):
    """The moves at the ends of what is divided: before a column, and after a row."""

    enter: Callable[[], Layer]
    leave: Callable[[], Layer]

    @classmethod
    def of_whole(cls, group: Group) -> "Ends":
        """Return those between arrays that are the same on all ranks."""
        return cls(partial(Copy, group), partial(Sum, group))


def column(layer: Product, cut: Cut, group: Group, ends: Ends, inputs: Cut | None = None) -> Divided:
    """Return ``layer`` divided by its outputs: each rank has the part of y that ``cut`` gives it.

    x comes through the move that enters, or is divided by ``inputs``: then its parts are joined first.
    """
    part = layer.part(cut.shard(1 if isinstance(layer, Linear) else 3, group.rank))
    sum_adapters(part, group)
    return Divided(ends.enter() if inputs is None else AllGather(group, -1, inputs.lengths), part)


def row(layer: Product, cut: Cut, group: Group, ends: Ends) -> Divided:
    """Return ``layer`` divided by its inputs, of which each rank has the part that ``cut`` gives it.

    y goes through the move that leaves, a sum over the ranks; then the bias is added.
    """
    part = layer.part(cut.shard(0 if isinstance(layer, Linear) else 2, group.rank))
    sum_adapters(part, group)
    return Divided(part, ends.leave(), *bias_of(layer.bias))


def sum_adapters(part: Layer, group: Group) -> None:
    """Let the gradients of the whole factors of adapters be summed: each rank has those of its part of the layer."""
    if isinstance(part, LoRALinear):
        for _, adapter, _ in part.adapters():
            for p in (adapter.a, adapter.b):
                p.sum_over = group if p.shard is None else None


def bias_of(bias: Parameter | None) -> list[Layer]:
    """Return the layer that adds a bias, if there is one."""
    return [] if bias is None else [Bias(bias)]
