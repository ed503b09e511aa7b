"""The contract of a layer: explicit forward and backward over arena views; layers know nothing of ranks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from ..context import Context
from ..ops.gradient import Gradient
from ..parameter import Parameter, State

Phase = Literal["forward", "output", "backward", "gradient"]
Observer = Callable[["Layer", Phase, np.ndarray], None]


class Layer(ABC):
    """A function with parameters and a hand-written derivative.

    A subclass sets its ``Parameter``, ``State`` and child ``Layer`` attributes (or lists or tuples of these) in
    ``__init__`` in the order in which forward uses them; their names come from the attribute names.

    ``needs_dx`` is False for the first layer of a network, since the gradient of the samples is not used, and for all
    layers up to the first with a parameter that is trained.
    """

    needs_dx = True

    @abstractmethod
    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return y, memory of ``ctx``, and put into ``ctx[self]`` the state for backward. ``x`` is not changed."""

    @abstractmethod
    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Add parameter gradients into their views and return dx, memory of ``ctx.backward``.

        ``dy`` may be overwritten: the layer above does not read it again. ``written()`` of each parameter is called as
        soon as its gradient is in place. With ``needs_dx`` False an empty array is returned.

        Where ``ctx.later`` is a list, a layer with weights may append functions to it that write the gradients and call
        ``written()``, from arrays that nobody overwrites until then: x, what it keeps of ``ctx``, and dy. They refer to
        these arrays, whose memory is lent to others otherwise.
        """

    @property
    def trains(self) -> bool:
        """True if a parameter of this layer, or of one below it, is trained."""
        return any(not p.frozen for _, p in self.named_parameters())

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx``; layers that hold others tell them, given which of these are trained."""
        self.needs_dx = needed

    @property
    def kind(self) -> str:
        """The kind of layer, for messages."""
        return type(self).__name__

    def diagnose(self, x: np.ndarray) -> str:
        """Return the error in inputs that ``forward`` turns into NaN on a GPU; "" if there is none."""
        return ""

    def in_row(self, name: str) -> Iterator[tuple[str, "Layer"]]:
        """Yield (name, layer) of the layers that run one after the other for this one: itself by default.

        A plan fuses them with the neighbors of this layer (``layers/fused``).
        """
        yield name, self

    def ending(self) -> "Layer | None":
        """Return the layer that writes y, if that can end a residual block (``layers/tail.py``); None by default."""
        return None

    def up_to_ending(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the x of ``ending()``: run what comes before it in this layer."""
        return x

    def beginning(self) -> "Layer | None":
        """Return the layer that writes dx, if that can add to it (``layers/tail.py``); None by default."""
        return None

    def joined(self, above: "Layer") -> "Layer | None":
        """Return a layer that runs this one and ``above``, which takes its y, in a better way; None by default."""
        return None

    def replace(self, name: str, layer: "Layer") -> None:
        """Put another layer in the place of the child of that name."""
        attribute, _, place = name.partition(".")
        if not place:
            setattr(self, attribute, layer)
            return
        items = vars(self)[attribute]
        setattr(self, attribute, type(items)(layer if i == int(place) else item for i, item in enumerate(items)))

    def children(self) -> Iterator[tuple[str, "Layer"]]:
        """Yield (attribute name, child) in order of definition; items of a list are named by their position."""
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

    def running(self, prefix: str = "") -> Iterator[tuple[str, "Layer"]]:
        """Yield (dotted name, layer) of the layers whose forward and backward run, in forward order.

        These are the layers without children, and fused layers instead of those they stand for.
        """
        children = list(self.children())
        if not children:
            yield prefix.rstrip("."), self
        for name, child in children:
            yield from child.running(f"{prefix}{name}.")

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Call ``observer(layer, phase, array)`` for each running layer; return a function that ends it.

        Phases are "forward" (x) and "output" (y) before and after forward, "backward" (dy) and "gradient" (dx) before
        and after backward. Layers that are not observed run without any additional code.
        """
        layers = [layer for _, layer in self.running()]
        for layer in layers:
            layer._add_observer(observer)

        def stop() -> None:
            for layer in layers:
                layer._remove_observer(observer)

        return stop

    def _add_observer(self, observer: Observer) -> None:
        observers = vars(self).setdefault("_observers", [])
        observers.append(observer)
        if len(observers) == 1:  # instance attributes hide the methods of the class
            vars(self)["forward"] = self._observed(self.forward, "forward", "output")
            vars(self)["backward"] = self._observed(self.backward, "backward", "gradient")

    def _remove_observer(self, observer: Observer) -> None:
        observers = vars(self)["_observers"]
        observers.remove(observer)
        if not observers:
            for name in ("_observers", "forward", "backward"):
                del vars(self)[name]

    def _observed(self, run: Callable[..., np.ndarray], before: Phase, after: Phase) -> Callable[..., np.ndarray]:
        def observed(array: np.ndarray, ctx: Context) -> np.ndarray:
            observers = tuple(vars(self)["_observers"])
            for observer in observers:
                observer(self, before, array)
            result = run(array, ctx)
            for observer in observers:
                observer(self, after, result)
            return result

        return observed

    def _named(self, prefix: str, kind: type) -> Iterator[tuple[str, Any]]:
        for name, value in vars(self).items():
            yield from ((prefix + key, tensor) for key, tensor in _members(name, value, kind))
            for key, child in _members(name, value, Layer):
                yield from child._named(f"{prefix}{key}.", kind)


def _members(name: str, value: Any, kind: type) -> Iterator[tuple[str, Any]]:
    if isinstance(value, kind):
        yield name, value
    elif isinstance(value, list | tuple):
        yield from ((f"{name}.{i}", item) for i, item in enumerate(value) if isinstance(item, kind))


def summing_layers(model: Layer) -> list[Any]:
    """Return the layers of ``model`` that sum over the ranks in a training forward (attribute ``sum_over_ranks``)."""
    return [layer for layer in model.layers() if hasattr(layer, "sum_over_ranks")]


def empty_gradient(like: np.ndarray) -> np.ndarray:
    """Return the result of backward where no dx is needed."""
    return like[:0]


def gradient_of(p: Parameter) -> Gradient:
    """Return the destination of the gradient of ``p``."""
    return Gradient(p.grad, p.accumulate, p.written)
