"""Sequential container of layers."""

from collections.abc import Iterator

import numpy as np

from ..context import Context
from .base import Layer
from .fused import Plan


class Sequential(Layer):
    """y = f_n(... f_2(f_1(x))).

    Parameters
    ----------
    *layers : Layer
        Each becomes an attribute named by its position, so that the names of parameters are ``0.weight``, ``3.bias``.
    fuse : bool
        Compute some neighbors in one pass (``layers/fused``). Names, parameters and results stay the same.

    Notes
    -----
    ``model[i]``, ``model[i:j]`` (a tuple of layers), ``len(model)`` and iteration give the layers. Forward and backward
    run an execution plan, a second list in which fused layers stand for several of them. Backward ends at the first
    layer that needs no dx, since the layers below it have no parameters.
    """

    def __init__(self, *layers: Layer, fuse: bool = True):
        self._plan = Plan(layers, fuse)  # which is no layer: the children are the attributes that follow
        vars(self).update({str(position): layer for position, layer in enumerate(layers)})

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._plan.layers)

    def __len__(self) -> int:
        return len(self._plan.layers)

    def __getitem__(self, position: int | slice) -> Layer | tuple[Layer, ...]:
        return self._plan.layers[position]

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the output of the last layer."""
        for step in self._plan.steps:
            x = step.layer.forward(x, ctx)
        return x

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Run backward from the last layer to the first."""
        for step in reversed(self._plan.steps):
            dy = step.layer.backward(dy, ctx)
            if not step.first.needs_dx:
                break
        return dy

    def running(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield (dotted name, layer) of the layers whose forward and backward run."""
        for step in self._plan.steps:
            yield from step.layer.running(f"{prefix}{step.name}.")
