"""The execution plan of a Sequential: which of its layers are computed in one pass."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from ..activations import ReLU
from ..base import Layer
from ..batchnorm2d import BatchNorm2d
from ..conv2d import Conv2d
from ..pool import MaxPool2d
from .chain import chain_of, make_chain
from .with_moments import WithMoments
from .with_relu import WithReLU

PAIRS: dict[tuple[type, type], Callable[..., Layer]] = {
    (BatchNorm2d, ReLU): WithReLU,
    (MaxPool2d, ReLU): WithReLU,
}
"""The fused layers of two neighbors. Linear layers and convolutions with their activations are links of chains."""


class Step(NamedTuple):
    """One entry of a plan: a layer of the Sequential, or a fused layer that stands for several.

    ``name`` is the name of the layer, or their names: "3", "3+4"; ``first`` is the first of them.
    """

    name: str
    first: Layer
    layer: Layer


class Plan:
    """The layers of a Sequential and the steps that run instead of them.

    Only layers of exactly the known types are fused: a subclass may compute something else. A layer that consists of
    several in a row (``Layer.in_row``) is fused part by part with its neighbors. Steps are made when they are first
    needed, so that layers may change before.

    Parameters
    ----------
    layers : sequence of Layer
    names : sequence of str
        Their names in the model: "3", or "1.3" for a layer of a nested Sequential.
    fuse : bool
        False runs each layer by itself.
    """

    def __init__(self, layers: Sequence[Layer], names: Sequence[str], fuse: bool):
        self.layers, self.names, self.fuse = tuple(layers), tuple(names), fuse
        self._plans: tuple[Plan, ...] = ()

    @classmethod
    def joined(cls, plans: "Sequence[Plan]") -> "Plan":
        """Return a plan that runs ``plans`` one after the other, with nothing fused between them."""
        whole = cls((), (), False)
        for plan in plans:
            whole.layers, whole.names = whole.layers + plan.layers, whole.names + plan.names
        whole._plans = tuple(plans)
        return whole

    @cached_property
    def steps(self) -> list[Step]:
        """The entries of the plan."""
        if self._plans:
            return [step for plan in self._plans for step in plan.steps]
        if not self.fuse:
            return [Step(name, layer, layer) for name, layer in zip(self.names, self.layers, strict=True)]
        row = [each for name, layer in zip(self.names, self.layers, strict=True) for each in layer.in_row(name)]
        steps: list[Step] = []
        position = 0
        while position < len(row):
            name, layer = row[position]
            found = _fused(row[position:]) or [Step(name, layer, layer)]
            steps += found
            position += sum(step.name.count("+") + 1 for step in found)
        return _join(steps)


Row = Sequence[tuple[str, Layer]]


def _fused(row: Row) -> list[Step]:
    """Return the fused steps that begin with the first layer; none if it runs by itself."""
    here: list[Any] = [layer for _, layer in row[:2]]
    if [type(layer) for layer in here] == [Conv2d, BatchNorm2d]:
        return [Step(row[0][0], here[0], WithMoments(*here))]
    make = PAIRS.get((type(here[0]), type(here[-1])))
    if make is not None:
        return [Step(_pair(row), here[0], make(*here))]
    pairs = chain_of([layer for _, layer in row])
    steps = []
    for i, (link, (first, activation)) in enumerate(zip(make_chain(pairs), pairs, strict=True)):
        name = row[2 * i][0] if activation is None else _pair(row[2 * i :])
        steps.append(Step(name, first, link))
    return steps


def _pair(row: Row) -> str:
    """Return the name of the first two layers, "3+4" or "1.3+4"."""
    return f"{row[0][0]}+{row[1][0].rpartition('.')[2]}"


def _join(steps: Sequence[Step]) -> list[Step]:
    """Return the steps, with a layer and that above it in one where it knows how (``Layer.joined``)."""
    found: list[Step] = []
    for step in steps:
        both = found[-1].layer.joined(step.layer) if found else None
        if both is None:
            found.append(step)
        else:
            found[-1] = Step(f"{found[-1].name}+{step.name}", found[-1].first, both)
    return found
