"""A layer of the whole model as local layers and moves in a row, with the names of the parameters that it has there."""

from collections.abc import Iterator
from typing import Any

from ...context import Context
from ...layers.base import Layer


class Divided(Layer):
    """y = f_n(... f_1(x)), where each f is a move or a local layer with a part of the parameters.

    Parameters
    ----------
    *steps : Layer
        Their parameters have different names, and no prefix: those of the layer that is divided.
    """

    def __init__(self, *steps: Layer):
        self.steps = steps

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the output of the last step."""
        for step in self.steps:
            x = step.forward(x, ctx)
        return x

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Run backward from the last step to the first."""
        for step in reversed(self.steps):
            dy = step.backward(dy, ctx)
            if not step.needs_dx:
                break
        return dy

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this and of each step: those behind the first that is trained need dx."""
        self.needs_dx = needed
        for step in self.steps:
            step.ask_dx(needed)
            needed = needed or step.trains

    def _named(self, prefix: str, kind: type) -> Iterator[tuple[str, Any]]:
        for step in self.steps:
            yield from step._named(prefix, kind)
