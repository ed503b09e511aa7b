"""Settings as keyword arguments: the names of the command line with underscores, ``batch_size=32``."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from .config import Config
from .config_check import check
from .errors import UserError
from .suggest import suggest


def setting_places() -> dict[str, tuple[str, str]]:
    """Return the (branch, key) of each setting by its keyword.

    >>> setting_places()["batch_size"], setting_places()["checkpoint_every"]
    (('data', 'batch_size'), ('checkpoint', 'every'))
    """
    places = {}
    for branch, kind in typing.get_type_hints(Config).items():
        hints = typing.get_type_hints(kind, include_extras=True)
        for field in dataclasses.fields(kind):
            extras = getattr(hints[field.name], "__metadata__", ())
            names = [extra.name for extra in extras if getattr(extra, "name", None)]
            places[(names or [field.name])[0].replace("-", "_")] = branch, field.name
    return places


def config_from(**settings: Any) -> Config:
    """Return the default config with ``settings``.

    Raises
    ------
    UserError
        For an unknown setting (the nearest one is named), or a value of another type or out of range.

    >>> config_from(batch_size=32, lr=0.1).data.batch_size
    32
    """
    return config_over(Config(), settings)


def config_over(default: Config, settings: Mapping[str, Any]) -> Config:
    """Return ``default`` with ``settings``, as ``config_from`` does."""
    places, branches = setting_places(), dict[str, dict[str, Any]]()
    for name, value in settings.items():
        if name not in places:
            raise UserError(f"there is no setting {name}; {suggest(name, sorted(places))}")
        branch, key = places[name]
        branches.setdefault(branch, {})[key] = _converted(name, value, branch, key)
    parts = {name: dataclasses.replace(getattr(default, name), **values) for name, values in branches.items()}
    config = dataclasses.replace(default, **parts)
    check(config)
    return config


def _converted(name: str, value: Any, branch: str, key: str) -> Any:
    """Return ``value`` in the type of its setting: whole numbers may stand for others, lists for tuples."""
    hint = typing.get_type_hints(typing.get_type_hints(Config)[branch])[key]
    kinds = typing.get_args(hint) if typing.get_origin(hint) not in (tuple, typing.Literal) else (hint,)
    for kind in kinds or (hint,):
        if typing.get_origin(kind) is typing.Literal:
            if value in typing.get_args(kind):
                return value
        elif typing.get_origin(kind) is tuple:
            if isinstance(value, list | tuple) and all(type(item) is typing.get_args(kind)[0] for item in value):
                return tuple(value)
        elif type(value) is kind or (kind is type(None) and value is None):
            return value
        elif kind is float and type(value) is int:
            return float(value)
        elif kind is str and type(value) in (int, float):  # checkpoint_every=100
            return str(value)
    raise UserError(f"{name} is {value!r}, but must be {_say(hint)}")


def _say(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return f"one of {', '.join(map(str, typing.get_args(hint)))}"
    if typing.get_origin(hint) is tuple:
        return f"a list of {'texts' if typing.get_args(hint)[0] is str else 'whole numbers'}"
    names = {int: "a whole number", float: "a number", bool: "True or False", str: "text", type(None): "None"}
    return " or ".join(names.get(kind, str(kind)) for kind in typing.get_args(hint) or (hint,))
