"""Option values as text: ``widths=256+128,dropout=0.1``, converted by the types of the function's arguments.

    int, float, str         dropout=0.1
    bool                    nesterov=true
    X | None                lr=none, or a value of X
    a tuple or sequence     widths=256+128, and widths= for an empty one
    a Literal               one of its values

A value with options of its own is written with parentheses: ``inner=ring(segments=2)`` gives "ring:segments=2".
"""

import inspect
import re
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal


def split_options(text: str) -> list[str]:
    """Return the parts of ``text`` between commas that are not in parentheses."""
    parts, depth, begin = [], 0, 0
    for i, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and depth <= 0:
            parts.append(text[begin:i])
            begin = i + 1
    return [*parts, text[begin:]] if text else []


def parse_value(text: str, kind: Any, default: Any = inspect.Parameter.empty) -> Any:
    """Return ``text`` as a value of the type ``kind`` or, without a known one, of the type of ``default``.

    Raises
    ------
    ValueError
        With the description of what it must be.

    >>> parse_value("256+128", tuple[int, ...]), parse_value("0.9+0.999", tuple[float, float])
    ((256, 128), (0.9, 0.999))
    """
    if kind is Any:
        known = default is not inspect.Parameter.empty and default is not None
        return parse_value(text, _type_of(default)) if known else _guess(text)
    origin, items = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _parse_union(text, items)
    if origin is Literal:
        values = {format_value(item): item for item in items}
        if text not in values:
            raise ValueError(f"one of {', '.join(values)}")
        return values[text]
    if origin is not None and isinstance(origin, type) and issubclass(origin, Sequence):
        return _parse_sequence(text, items or (str,))
    return _parse_scalar(text, kind)


def format_value(value: Any) -> str:
    """Return ``value`` as it is written in a text.

    >>> format_value((256, 128)), format_value(True), format_value(None)
    ('256+128', 'true', 'none')
    """
    if isinstance(value, tuple | list):
        return "+".join(map(format_value, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _parse_union(text: str, items: Sequence[Any]) -> Any:
    if type(None) in items and text.lower() == "none":
        return None
    wanted = []
    for item in items:
        if item is not type(None):
            try:
                return parse_value(text, item)
            except ValueError as error:
                wanted.append(str(error))
    if type(None) in items:
        wanted.append("none")
    raise ValueError(" or ".join(wanted))


def _parse_sequence(text: str, items: Sequence[Any]) -> tuple[Any, ...]:
    parts = re.split(r"(?<!\d[eE])\+", text) if text else []  # 1e+5 is one number
    repeated = len(items) == 1 or items[-1] is Ellipsis
    kinds = [items[0]] * len(parts) if repeated else list(items)
    try:
        if len(parts) != len(kinds):
            raise ValueError
        return tuple(parse_value(part, kind) for part, kind in zip(parts, kinds, strict=True))
    except ValueError:
        one = _name_of(items[0])
        example = "+".join(["0.1", "0.2"] if items[0] is float else ["1", "2"] if items[0] is int else ["a", "b"])
        number = "" if repeated else f"{len(items)} "
        raise ValueError(f"{number}{one} values, such as {example}") from None


def _parse_scalar(text: str, kind: Any) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError("true or false")
        return text.lower() == "true"
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            raise ValueError("a whole number" if kind is int else "a number") from None
    if kind is Path:
        return Path(text)
    return re.sub(r"\((.*)\)$", r":\1", text, flags=re.S) if kind is str else _guess(text)


def _guess(text: str) -> Any:
    """Return an int, float, bool or str, whichever comes first."""
    for kind in (int, float, bool, str):
        try:
            return _parse_scalar(text, kind)
        except ValueError:
            continue
    raise AssertionError(text)


def _type_of(default: Any) -> Any:
    if isinstance(default, tuple | list):
        return types.GenericAlias(tuple, (_type_of(default[0]) if default else Any, ...))
    return type(default)


def _name_of(kind: Any) -> str:
    return {int: "whole", float: "number"}.get(kind, getattr(kind, "__name__", str(kind)))
