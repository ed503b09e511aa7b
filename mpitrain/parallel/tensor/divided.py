"""A layer of the whole model as local layers and moves in a row, with the names of the parameters that it has there."""

from collections.abc import Iterator
from typing import Any

from ...context import Context
from ...layers.base import Layer
from ...layers.fused import Plan


class Divided(Layer):
    """y = f_n(... f_1(x)), where each f is a move or a local layer with a part of the parameters.

    In a Sequential its steps run among the neighbors, fused with these where they can be.

    Parameters
    ----------
    *steps : Layer
        Their parameters have different names, and no prefix: those of the layer that is divided.
    """

    def __init__(self, *steps: Layer):
        self._hold(steps)

    def _hold(self, steps: tuple[Layer, ...]) -> None:
        self.steps = steps
        names, row = zip(*self.in_row(""), strict=True)
        self._plan = Plan(row, names, True)

    def in_row(self, name: str) -> Iterator[tuple[str, Layer]]:
        """Yield (name, layer) of the steps."""
        for step in self.steps:
            plain = isinstance(step, Divided) or any(True for _ in step.named_parameters())
            yield from step.in_row(name if plain else f"{name}.{step.kind.lower()}")

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the output of the last step."""
        for step in self._plan.steps:
            x = step.layer.forward(x, ctx)
        return x

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Run backward from the last step to the first."""
        for step in reversed(self._plan.steps):
            dy = step.layer.backward(dy, ctx)
            if not step.first.needs_dx:
                break
        return dy

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this and of each step: those behind the first that is trained need dx."""
        self.needs_dx = needed
        for step in self.steps:
            step.ask_dx(needed)
            needed = needed or step.trains

    def replace(self, name: str, layer: Layer) -> None:
        """Put another layer in the place of the step of that name, ``steps.1``."""
        place = int(name.removeprefix("steps."))
        self._hold(tuple(layer if i == place else step for i, step in enumerate(self.steps)))

    def running(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield (dotted name, layer) of the layers whose forward and backward run."""
        for step in self._plan.steps:
            yield from step.layer.running(f"{prefix.rstrip('.')}{step.name}.")

    def _named(self, prefix: str, kind: type) -> Iterator[tuple[str, Any]]:
        for step in self.steps:
            yield from step._named(prefix, kind)
