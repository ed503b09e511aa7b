"""Sequential container of layers, and parts of it."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from ..context import Context
from ..errors import UserError
from .base import Layer, empty_gradient
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
    layer that needs no dx, since the layers below it have no parameters to train.
    """

    def __init__(self, *layers: Layer, fuse: bool = True):
        self._hold(Plan(layers, [str(position) for position in range(len(layers))], fuse))

    def _hold(self, plan: Plan) -> None:
        self._plan = plan  # which is no layer: the children are the attributes that follow
        vars(self).update(zip(plan.names, plan.layers, strict=True))

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

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this and of each layer: those behind the first that is trained need dx."""
        self.needs_dx = needed
        for layer in self:
            layer.ask_dx(needed)
            needed = needed or layer.trains

    def ending(self) -> Layer | None:
        """Return that of the last step of the plan."""
        return self._plan.steps[-1].layer.ending() if self._is_fused() else None

    def beginning(self) -> Layer | None:
        """Return that of the first step of the plan."""
        return self._plan.steps[0].layer.beginning() if self._is_fused() else None

    def _is_fused(self) -> bool:
        of_class = type(self).forward, type(self).backward
        return self._plan.fuse and of_class == (Sequential.forward, Sequential.backward) and len(self) > 0

    def up_to_ending(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Run all steps but the last, and of that what comes before its ending."""
        *steps, last = self._plan.steps
        for step in steps:
            x = step.layer.forward(x, ctx)
        return last.layer.up_to_ending(x, ctx)

    def replace(self, name: str, layer: Layer) -> None:
        """Put another layer in the place of the one of that name."""
        plan = self._plan
        layers = [layer if each == name else old for each, old in zip(plan.names, plan.layers, strict=True)]
        self._hold(Plan(layers, plan.names, plan.fuse))

    def running(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield (dotted name, layer) of the layers whose forward and backward run."""
        for step in self._plan.steps:
            yield from step.layer.running(f"{prefix}{step.name}.")

    def units(self) -> "list[Unit]":
        """Return the layers between which the model can be cut: its own, and those in a Sequential instead of that."""
        units: list[Unit] = []
        for name, layer in zip(self._plan.names, self._plan.layers, strict=True):
            if type(layer) is Sequential and len(layer):
                units += [unit._replace(name=f"{name}.{unit.name}") for unit in layer.units()]
            else:
                units.append(Unit(name, layer, self))
        return units

    def part(self, first: int, stop: int) -> "Part":
        """Return the units from ``first`` up to ``stop`` as a model of their own: a stage of a pipeline.

        Prepare the whole before (``models.prepare``).

        Raises
        ------
        ValueError
            If there are no such units.
        UserError
            If this is a subclass with a forward of its own, which may do something else between the units.
        """
        if type(self).forward not in (Sequential.forward, Part.forward):
            raise UserError(f"{self.kind} has a forward of its own, so it cannot be cut into parts")
        units = self.units()
        if not 0 <= first <= stop <= len(units):
            raise ValueError(f"there is no part from {first} up to {stop} of {len(units)} units")
        return Part(units[first:stop])


class Unit(NamedTuple):
    """A layer of a model under its name there; ``home`` is the Sequential that holds it."""

    name: str
    layer: Layer
    home: Sequential


class Part(Sequential):
    """Units of a Sequential that follow each other, under the names that they have in the whole.

    So an arena of the part begins with the values of the whole's. Layers are fused as in the whole, except across its
    ends. Where it has no parameters to train and needs no dx, backward does nothing, and dy may be empty.

    Parameters
    ----------
    units : sequence of Unit
    """

    between: Callable[[], object] | None = None
    """Called after each layer, in forward and backward: progresses messages while a rank computes."""

    def __init__(self, units: Sequence[Unit]):
        self._take(units)
        self.needs_dx = not units or units[0].layer.needs_dx

    def _take(self, units: Sequence[Unit]) -> None:
        self._units = tuple(units)
        runs = [list(run) for _, run in groupby(units, key=lambda unit: unit.home)]
        plans = [Plan([u.layer for u in run], [u.name for u in run], run[0].home._plan.fuse) for run in runs]
        self._hold(Plan.joined(plans))

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the output of the last unit."""
        if self.between is None:
            return super().forward(x, ctx)
        for step in self._plan.steps:
            x = step.layer.forward(x, ctx)
            self.between()
        return x

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Run backward from the last unit to the first."""
        if not self.needs_dx and not self.trains:
            return empty_gradient(dy)
        if self.between is None:
            return super().backward(dy, ctx)
        for step in reversed(self._plan.steps):
            dy = step.layer.backward(dy, ctx)
            self.between()
            if not step.first.needs_dx:
                break
        return dy

    def replace(self, name: str, layer: Layer) -> None:
        """Put another layer in the place of the unit of that name."""
        self._take([unit._replace(layer=layer) if unit.name == name else unit for unit in self._units])

    def units(self) -> list[Unit]:
        """Return the units."""
        return list(self._units)
