"""The fields of a dataclass as options of a command line: their flags, placeholders and help."""

import contextlib
import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro
from tyro.constructors import (
    MISSING,
    MISSING_NONPROP,
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

POSITIONAL = typing.get_args(tyro.conf.Positional[str])[1]
REPEATED = typing.get_args(tyro.conf.UseAppendAction[str])[1]
METAVARS = {Path: "PATH", str: "TEXT", int: "INT", float: "FLOAT"}


class Option(NamedTuple):
    """An option of a command, or one of its arguments.

    Attributes
    ----------
    flags : tuple of str
        Empty for an argument.
    metavar : str
        Placeholder of the value, without dots for several; empty for choices and flags.
    choices : tuple of str
    takes_value, is_path : bool
    help : str
    """

    flags: tuple[str, ...]
    metavar: str
    choices: tuple[str, ...]
    takes_value: bool
    is_path: bool
    help: str


def list_options(kind: Any) -> Iterator[Option]:
    """Yield the options for the fields of dataclass ``kind``, including those of nested dataclasses."""
    for name, hint in _hints(kind):
        bare, extras = _bare(hint), getattr(hint, "__metadata__", ())
        if dataclasses.is_dataclass(bare):
            yield from list_options(bare)
            continue
        named = [extra for extra in extras if hasattr(extra, "aliases")]
        flags = [f"--{next((extra.name for extra in named if extra.name), name.replace('_', '-'))}"]
        flags += [alias for extra in named for alias in extra.aliases or ()]
        if bare is bool:
            flags.append(f"--no-{flags[0][2:]}")
        yield Option(
            () if POSITIONAL in extras else tuple(flags),
            _placeholder(hint),
            typing.get_args(bare) if typing.get_origin(bare) is typing.Literal else (),
            bare is not bool,
            Path in _kinds(bare),
            _help(kind, name),
        )


def make_registry() -> ConstructorRegistry:
    """Return tyro's rules and one more, for readable help of dataclasses."""
    registry = ConstructorRegistry()
    registry.struct_rule(_dataclass_rule)
    return registry


def _dataclass_rule(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Return the fields of a dataclass as options; anything else is left to tyro."""
    kind: Any = info.type
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return None
    own_defaults = {field.name: field for field in dataclasses.fields(kind)}
    fields = []
    for name, hint in _hints(kind):
        default = _default(info.default, own_defaults[name])
        if not dataclasses.is_dataclass(_bare(hint)):
            metavar = _metavar(hint, optional=default is not MISSING_NONPROP)
            named = tyro.conf.arg(metavar=metavar, help_behavior_hint=_say_default)
            quick: Any = Annotated[_quick(hint), named]
            fields.append(StructFieldSpec(name, quick, default, helptext=functools.partial(_help, kind, name)))
        else:  # tyro asks for its help even where none is printed, and reading sources takes long
            fields.append(StructFieldSpec(name, hint, default, helptext=_bare(hint).__doc__))
    return StructConstructorSpec(instantiate=kind, fields=tuple(fields))


def _quick(hint: Any) -> Any:
    """Return a hint that means the same, but whose default value tyro checks by itself.

    For tuples, and for types written as ``X | None``, it loads another package, a twentieth of a training's start.
    """
    extras, bare = getattr(hint, "__metadata__", ()), _bare(hint)
    if typing.get_origin(bare) is types.UnionType:
        bare = typing.Union[typing.get_args(bare)]  # noqa: UP007
    elif typing.get_origin(bare) is tuple and REPEATED not in extras:
        extras, bare = (*extras, _tuple_of(typing.get_args(bare)[0])), object  # of a tuple tyro infers its items
    for extra in extras:
        bare = Annotated[bare, extra]
    return bare


def _tuple_of(item: Callable[[str], Any]) -> PrimitiveConstructorSpec[Any]:
    """Return the constructor of a tuple of numbers or texts."""
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="",
        instance_from_str=lambda words: tuple(map(item, words)),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: list(map(str, value)),
    )


def _hints(kind: Any) -> Iterator[tuple[str, Any]]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return ((field.name, hints[field.name]) for field in dataclasses.fields(kind))


def _default(given: Any, field: "dataclasses.Field[Any]") -> Any:
    """Return the value of ``field`` in the instance that is ``given`` as default, or its own default."""
    if given is MISSING:
        return MISSING
    if dataclasses.is_dataclass(given) and hasattr(given, field.name):
        return getattr(given, field.name)
    if field.default is not dataclasses.MISSING:
        return field.default
    return MISSING_NONPROP if field.default_factory is dataclasses.MISSING else field.default_factory()


def _bare(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint


def _kinds(bare: Any) -> list[Any]:
    """Return the types of a value: those of its items for a tuple, without None for an optional one."""
    return [_bare(kind) for kind in typing.get_args(bare) or [bare] if kind is not types.NoneType]


def _placeholder(hint: Any) -> str:
    """Return the placeholder that a field names, or that of its type; empty for choices and flags."""
    named = [extra.metavar for extra in getattr(hint, "__metadata__", ()) if getattr(extra, "metavar", None)]
    first = _kinds(_bare(hint))[0]
    return named[0] if named else METAVARS.get(first, "") if isinstance(first, type) else ""


def _metavar(hint: Any, optional: bool) -> str | None:
    """Return the placeholder in the help: PATH, INT... for several values, [RUN] for an argument that may
    be left out; None leaves it to tyro.
    """
    name, extras = _placeholder(hint), getattr(hint, "__metadata__", ())
    if name and Ellipsis in _kinds(_bare(hint)) and REPEATED not in extras:
        name = f"{name}..."
    is_argument = POSITIONAL in extras
    return f"[{name}]" if name and optional and is_argument else name or None


def _say_default(label: str) -> str:
    return f"(default: {'none' if label in ('', 'None', repr('')) else label})"


@functools.cache
def _docstrings(kind: type) -> dict[str, str]:
    """Return the docstrings below the fields of ``kind`` and of its base classes."""
    import docstring_parser

    found: dict[str, str] = {}
    for parent in reversed(kind.__mro__[:-1]):
        with contextlib.suppress(OSError, TypeError):  # no source to read it from
            parsed = docstring_parser.parse_from_object(parent)
            found |= {field.arg_name: field.description or "" for field in parsed.params}
    return found


def _help(kind: type, name: str) -> str:
    """Return the docstring of a field as one line, which is wrapped where it is shown."""
    return " ".join(_docstrings(kind).get(name, "").replace("``", "").split())
