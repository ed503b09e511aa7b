"""Rules of axis tensor: how its ranks divide the layers of a model."""

from ...comm.group import Group
from ...layers import Layer, Linear
from ...parameter import Shard
from ..division import Division
from ..moves import Copy, Gather
from .divided import Divided


def check(model: Layer, size: int, input_shape: tuple[int, ...]) -> None:
    """Raise a UserError if ``size`` ranks cannot divide ``model``: any number can."""


def divide(model: Layer, group: Group, input_shape: tuple[int, ...]) -> Division:
    """Return this rank's part of ``model``: each Linear is cut by its outputs, and these are joined."""
    needed = model.needs_dx
    _replace(model, group)
    model.ask_dx(needed)
    return Division(model)


def _replace(layer: Layer, group: Group) -> None:
    for name, child in list(layer.children()):
        if type(child) is Linear:
            shard = Shard.even(1, child.num_outputs, group.rank, group.size, axis="tensor")
            layer.replace(name, Divided(Copy(group), child.part(shard), Gather(group, -1, child.num_outputs)))
        else:
            _replace(child, group)
