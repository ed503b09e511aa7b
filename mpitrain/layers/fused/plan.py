"""The execution plan of a Sequential: which of its layers are computed in one pass."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..activations import GELU, ReLU
from ..base import Layer
from ..batchnorm2d import BatchNorm2d
from ..linear import Linear
from ..pool import MaxPool2d
from .linear_chain import make_chain
from .with_relu import WithReLU

PAIRS: dict[tuple[type, type], Callable[..., Layer]] = {
    (BatchNorm2d, ReLU): WithReLU,
    (MaxPool2d, ReLU): WithReLU,
}
"""The fused layers of two neighbors. Chains of Linear, ReLU and GELU have links instead (``linear_chain``)."""


class Step(NamedTuple):
    """One entry of a plan: a layer of the Sequential, or a fused layer that stands for several.

    ``name`` is the name of the layer, or their names: "3", "3+4"; ``first`` is the first of them.
    """

    name: str
    first: Layer
    layer: Layer


class Plan:
    """The layers of a Sequential and the steps that run instead of them.

    Only layers of exactly the known types are fused: a subclass may compute something else.

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
        self.steps: list[Step] = []
        position = 0
        while position < len(layers):
            steps = self._fused(position) if fuse else []
            if not steps:
                steps = [Step(names[position], layers[position], layers[position])]
            self.steps += steps
            position += sum(step.name.count("+") + 1 for step in steps)

    @classmethod
    def joined(cls, plans: "Sequence[Plan]") -> "Plan":
        """Return a plan that runs ``plans`` one after the other, with nothing fused between them."""
        whole = cls((), (), False)
        for plan in plans:
            whole.layers, whole.names = whole.layers + plan.layers, whole.names + plan.names
            whole.steps += plan.steps
        return whole

    def _fused(self, position: int) -> list[Step]:
        """Return the fused steps that begin at ``position``; none if the layer there runs by itself."""
        here = self.layers[position : position + 2]
        make = PAIRS.get((type(here[0]), type(here[-1])))
        if make is not None:
            return [Step(self._pair(position), here[0], make(*here))]
        pairs = self._chain(position)
        if not pairs or pairs[0][1] is None:
            return []
        steps = []
        for link, (linear, activation) in zip(make_chain(pairs), pairs, strict=True):
            name = self.names[position] if activation is None else self._pair(position)
            steps.append(Step(name, linear, link))
            position += 2
        return steps

    def _pair(self, position: int) -> str:
        """Return the name of two neighbors, "3+4" or "1.3+4"."""
        return f"{self.names[position]}+{self.names[position + 1].rpartition('.')[2]}"

    def _chain(self, position: int) -> list[tuple[Any, Any]]:
        """Return the pairs (Linear, activation) from ``position`` on; a pair without activation ends the chain."""
        pairs: list[tuple[Any, Any]] = []
        for i in range(position, len(self.layers), 2):
            if type(self.layers[i]) is not Linear:
                break
            after = self.layers[i + 1] if i + 1 < len(self.layers) else None
            is_fused = type(after) in (ReLU, GELU)
            pairs.append((self.layers[i], after if is_fused else None))
            if not is_fused:
                break
        return pairs
