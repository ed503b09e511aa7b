"""The layers of a model, with the functions that put others in their places."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from ...layers import Layer, Part, Recompute, Sequential, Unit


class Place(NamedTuple):
    """A layer under its name in the model, and the function that puts another one in its place."""

    name: str
    layer: Layer
    put: Callable[[Layer], None]


def places(layer: Layer, prefix: str = "") -> Iterator[Place]:
    """Yield all layers below ``layer``, each before those in it; of a user's own, itself alone."""
    if type(layer) is Recompute:
        yield Place(prefix.rstrip("."), layer.layer, partial(setattr, layer, "layer"))
        layer = layer.layer
    for key, child in layer.children() if is_known(layer) else ():
        name = f"{prefix}{key}"
        if type(child) is not Recompute:
            yield Place(name, child, partial(layer.replace, key))
        yield from places(child, f"{name}.")


def rows(layer: Layer) -> Iterator[list[Place]]:
    """Yield the layers of each Sequential that run one after the other; those of one in it are among them."""
    if type(layer) is Recompute:
        layer = layer.layer
    if is_plain(layer):
        assert isinstance(layer, Sequential)
        units = layer.units()
        yield [_place_of(layer, unit) for unit in units]
        below = [unit.layer for unit in units]
    else:
        below = [child for _, child in layer.children()] if is_known(layer) else []
    for child in below:
        yield from rows(child)


def _place_of(layer: Sequential, unit: Unit) -> Place:
    if isinstance(layer, Part):
        return Place(unit.name, unit.layer, partial(layer.replace, unit.name))
    return Place(unit.name, unit.layer, partial(unit.home.replace, unit.name.rpartition(".")[2]))


def is_known(layer: Layer) -> bool:
    """Return whether ``layer`` is of the package: one of a user's own may use the layers in it in any way."""
    return type(layer).__module__.partition(".")[0] == __package__.partition(".")[0]


def is_plain(layer: Layer) -> bool:
    """Return whether ``layer`` is a Sequential that runs its layers one after the other, and nothing else."""
    return isinstance(layer, Sequential) and type(layer).forward in (Sequential.forward, Part.forward)
