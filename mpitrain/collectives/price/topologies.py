"""Topologies by one string: ``switch``, ``fat_tree:oversubscription=4``, ``torus:dims=8x8x4,ranks_per_node=8``."""

from dataclasses import fields
from typing import Any

from ...errors import UserError
from .fat_tree import FatTree
from .topology import Switch
from .torus import Torus

TOPOLOGIES: dict[str, type[Switch]] = {"switch": Switch, "fat_tree": FatTree, "torus": Torus}


def parse_topology(text: str) -> Switch:
    """Return the topology that ``NAME`` or ``NAME:KEY=VALUE,...`` names.

    Examples
    --------
    >>> parse_topology("torus:dims=4x8,ranks_per_node=2")
    Torus(ranks_per_node=2, hop=1e-07, dims=(4, 8))
    """
    name, _, rest = text.partition(":")
    if name not in TOPOLOGIES:
        raise UserError(f"there is no topology {name!r}; there are {', '.join(TOPOLOGIES)}")
    kind = TOPOLOGIES[name]
    defaults = {f.name: f.default for f in fields(kind)}
    values: dict[str, Any] = {}
    for item in filter(None, rest.split(",")):
        key, _, value = item.partition("=")
        if key not in defaults:
            raise UserError(f"{name} has no option {key!r}; it has {', '.join(defaults)}")
        try:
            values[key] = _value(value, defaults[key])
        except ValueError:
            raise UserError(
                f"{key} of {name} must be positive numbers (as 8, or 4x4 for dims), not {value!r}"
            ) from None
    return kind(**values)


def _value(text: str, default: object) -> object:
    if isinstance(default, tuple):
        values: tuple[float, ...] = tuple(int(part) for part in text.split("x"))
        result: object = values
        if len(values) > 3:
            raise ValueError
    else:
        result = int(text) if isinstance(default, int) else float(text)
        values = (float(text),)
    if not all(value > 0 for value in values):
        raise ValueError
    return result
