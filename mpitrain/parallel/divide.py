"""Division of a model over the axes of a mesh: each axis has rules for the layers that it knows."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol, cast

from ..comm.group import Group
from ..comm.mesh import Mesh
from ..config import Parallel
from ..errors import UserError
from ..layers import Layer
from .division import Division


class Rules(Protocol):
    """The module ``rules`` of an axis."""

    def check(self, model: Layer, size: int, input_shape: tuple[int, ...]) -> None:
        """Raise a UserError, with the nearest number of ranks that fits, if so many cannot divide ``model``."""

    def divide(self, model: Layer, group: Group, input_shape: tuple[int, ...]) -> Division:
        """Return this rank's part of a prepared model without memory, of which layers are replaced."""


AXES = ("tensor", "expert", "context", "space")
"""Axes with rules, in the order in which they divide a model: rules meet layers that those before have made smaller."""


Options = Mapping[str, Mapping[str, Any]]
"""Keyword arguments of the rules of an axis."""


def options_of(config: Parallel) -> Options:
    """Return the settings that rules take."""
    return {"context": {"method": config.context}, "tensor": {"sequence": config.sequence_parallel}}


def rules_of(axis: str) -> Rules:
    """Return the rules of an axis, which are loaded when they are used."""
    return cast(Rules, import_module(f"{__package__}.{axis}.rules"))


def check(model: Layer, sizes: Mapping[str, int], input_shape: tuple[int, ...], options: Options | None = None) -> None:
    """Raise a UserError if a mesh of these sizes cannot divide ``model``; it is not changed."""
    given = _with_sizes(options, sizes)
    for axis, size in sizes.items():
        if size > 1 and axis not in ("data", "pipe"):
            if axis not in AXES:
                raise UserError(f"axis {axis} is not there yet, and cannot have {size} ranks")
            rules_of(axis).check(model, size, input_shape, **given.get(axis, {}))


def divide(model: Layer, mesh: Mesh, input_shape: tuple[int, ...], options: Options | None = None) -> Division:
    """Return this rank's part of ``model``, of which layers are replaced; all ranks call it together.

    Parameters
    ----------
    model : Layer
        The whole model, prepared (``models.prepare``), without memory.
    mesh : Mesh
    input_shape : tuple of int
        Of one sample.
    options : Options, optional
    """
    found, given = Division(model), _with_sizes(options, mesh.sizes)
    for axis in AXES:
        if mesh.sizes[axis] > 1:
            found = found.then(rules_of(axis).divide(found.model, mesh[axis], input_shape, **given.get(axis, {})))
    return found


def free_plans(model: Layer) -> None:
    """Release the plans of messages that layers of ``model`` have made; ranks with parts of it call it together."""
    for layer in model.layers():
        free = getattr(layer, "free", None)
        if free is not None:
            free()


def _with_sizes(options: Options | None, sizes: Mapping[str, int]) -> Options:
    """Return the options, with the sizes of other axes that rules depend on."""
    given = dict(options or {})
    return given | {"context": {**given.get("context", {}), "tensor": sizes["tensor"]}}
