"""The contract of a layer: explicit forward and backward over arena views, nothing about ranks."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..arena import Parameter, State
from ..saved import Saved


class Layer(ABC):
    """A function with parameters and a hand-written derivative.

    A subclass sets its ``Parameter``, ``State`` and child ``Layer`` attributes (or lists of children) in
    ``__init__`` in the order in which forward uses them; their names come from the attribute names.

    ``needs_dx`` is False for the first layer of a network: nobody wants the gradient of the images.
    """

    needs_dx = True

    @abstractmethod
    def forward(self, x: np.ndarray, saved: Saved) -> np.ndarray:
        """Return y, a buffer of ``saved``, and put on ``saved[self]`` what backward needs. ``x`` is not changed."""

    @abstractmethod
    def backward(self, dy: np.ndarray, saved: Saved) -> np.ndarray:
        """Add parameter gradients into their views and return dx, a buffer of ``saved``.

        ``dy`` belongs to the caller of the layer above: it may be overwritten here, since nobody reads it again.
        Each parameter's ``written()`` is called as soon as its gradient is in place.
        With ``needs_dx`` False an empty array is returned.
        """

    def complaint(self, x: np.ndarray) -> str:
        """Return what is wrong with inputs that ``forward`` has taken for a NaN on a GPU; else ""."""
        return ""

    def children(self) -> Iterator[tuple[str, "Layer"]]:
        """Yield (attribute name, child) in order of definition; items of a list are named by their place."""
        for name, value in vars(self).items():
            yield from _members(name, value, Layer)

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Yield (dotted name, Parameter) in forward order."""
        yield from self._named(prefix, Parameter)

    def named_states(self, prefix: str = "") -> Iterator[tuple[str, State]]:
        """Yield (dotted name, State) in forward order."""
        yield from self._named(prefix, State)

    def layers(self) -> Iterator["Layer"]:
        """Yield this layer and all below it."""
        yield self
        for _, child in self.children():
            yield from child.layers()

    def _named(self, prefix: str, kind: type) -> Iterator[tuple[str, Any]]:
        for name, value in vars(self).items():
            yield from ((prefix + key, tensor) for key, tensor in _members(name, value, kind))
            for key, child in _members(name, value, Layer):
                yield from child._named(f"{prefix}{key}.", kind)


def _members(name: str, value: Any, kind: type) -> Iterator[tuple[str, Any]]:
    if isinstance(value, kind):
        yield name, value
    elif isinstance(value, list):
        yield from ((f"{name}.{i}", item) for i, item in enumerate(value) if isinstance(item, kind))


def empty_gradient(like: np.ndarray) -> np.ndarray:
    """Return what backward gives where no dx is wanted."""
    return like[:0]
