"""Layers one after another."""

from collections.abc import Iterator

import numpy as np

from ..saved import Saved
from .base import Layer


class Sequential(Layer):
    """y = f_n(... f_2(f_1(x))).

    Parameters
    ----------
    *layers : Layer
        Each becomes an attribute named by its place, so that the names of parameters read ``0.weight``, ``3.bias``.

    Notes
    -----
    ``model[i]``, ``model[i:j]`` (a tuple of layers), ``len(model)`` and iteration give the layers.
    Backward ends at the first layer that needs no dx: what lies below it has nothing to learn.
    """

    def __init__(self, *layers: Layer):
        self._layers = layers  # a tuple holds no children in the eyes of Layer: they are the attributes set here
        vars(self).update({str(place): layer for place, layer in enumerate(layers)})

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, place: int | slice) -> Layer | tuple[Layer, ...]:
        return self._layers[place]

    def forward(self, x: np.ndarray, saved: Saved) -> np.ndarray:
        """Return the output of the last layer."""
        for layer in self._layers:
            x = layer.forward(x, saved)
        return x

    def backward(self, dy: np.ndarray, saved: Saved) -> np.ndarray:
        """Run the layers' backward from the last to the first."""
        for layer in reversed(self._layers):
            dy = layer.backward(dy, saved)
            if not layer.needs_dx:
                break
        return dy
