"""Shapes and costs of the layers of a model, without its memory: arrays are their shapes for one sample."""

import math
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

import numpy as np

from ..context import Context
from ..errors import UserError
from ..layers import Layer
from ..layers.embedding import sample_dtype
from ..planning import Product, Unit

Shape = tuple[int, ...]


@dataclass(eq=False)
class Value:
    """An array (N, ...) that flows from layer to layer.

    Attributes
    ----------
    shape : tuple of int
        For one sample.
    costs : Costs or None
        Those of the unit that made it; None for samples, which lie with the loader.
    is_cut : bool
        Ranks on axis tensor have parts of it.
    is_kept : bool
        Backward needs it.
    """

    shape: Shape
    costs: "Costs | None" = None
    is_cut: bool = False
    is_kept: bool = False

    @property
    def size(self) -> int:
        """Elements for one sample."""
        return math.prod(self.shape)

    def keep(self) -> None:
        """Count it among what is kept for backward, once."""
        if not self.is_kept and self.costs is not None:
            self.costs.keep(self.size, self.is_cut)
        self.is_kept = True


@dataclass(eq=False)
class Costs:
    """Costs of a unit while its layers are walked; the names are those of ``planning.Unit``."""

    found: dict[str, Any] = field(default_factory=dict)
    products: list[Product] = field(default_factory=list)
    halos: list[float] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    shape: Shape = ()

    def add(self, name: str, number: float) -> None:
        """Add to a number."""
        self.found[name] = self.found.get(name, 0) + number

    def largest(self, name: str, number: float) -> None:
        """Raise a number to ``number``, if it is less."""
        self.found[name] = max(self.found.get(name, 0), number)

    def keep(self, size: float, is_cut: bool) -> None:
        """Count elements that are kept for backward."""
        self.add("kept_cut" if is_cut else "kept", size)

    def move(self, size: float, is_cut: bool) -> None:
        """Count elements that are read or written outside of products, by one call."""
        self.add("traffic_cut" if is_cut else "traffic", size)
        self.add("num_ops", 1)

    def own(self, layer: Layer, is_cut: bool = False) -> None:
        """Count the parameters of a layer."""
        self.add("parameters_cut" if is_cut else "parameters", sum(p.size for _, p in layer.named_parameters()))

    def uses(self, x: Value, y: Value) -> None:
        """Note the memory of a layer's gradients, which others use after it."""
        self.largest("in_turn_cut" if x.is_cut or y.is_cut else "in_turn", x.size + y.size)

    def unit(self, name: str, kind: str, **more: Any) -> Unit:
        """Return the unit."""
        found = {**self.found, **more}
        height = min(self.heights, default=0)
        return Unit(name, kind, products=tuple(self.products), halos=tuple(self.halos), height=height, **found)


@singledispatch
def flow(layer: Layer, x: Value, costs: Costs) -> Value:
    """Return the output of a layer for ``x``, and add to the costs; layers without a rule run with no samples."""
    children = list(layer.children())
    if children and not hasattr(layer, "weight"):
        for _, child in children:
            x = flow(child, x, costs)
        return x
    y = Value(empty_output(layer, x.shape).shape[1:], costs)
    parameters = sum(p.size for _, p in layer.named_parameters())
    rows = math.prod(y.shape[:-1])
    if parameters:
        outputs = y.shape[-1] if y.shape else 1
        costs.products.append(Product(rows, max(1.0, parameters / outputs), outputs))
    costs.own(layer)
    x.keep()
    costs.keep(y.size, False)
    costs.move(2 * (x.size + y.size), False)
    costs.uses(x, y)
    return y


def empty_output(layer: Layer, shape: Shape) -> np.ndarray:
    """Return what a layer makes of no samples; parameters without memory stand for zeros."""
    tensors = [tensor for named in (layer.named_parameters(), layer.named_states()) for _, tensor in named]
    before = [tensor.data for tensor in tensors]
    try:
        for tensor in tensors:
            tensor.data = np.broadcast_to(np.zeros((), np.float32), tensor.shape)
        y: np.ndarray = layer.forward(np.zeros((0, *shape), sample_dtype(layer)), Context(training=False))
    except (ValueError, TypeError, IndexError) as error:
        raise UserError(f"cannot plan a {layer.kind}, which does not take samples of shape {shape}: {error}") from None
    finally:
        for tensor, data in zip(tensors, before, strict=True):
            tensor.data = data
    return y
