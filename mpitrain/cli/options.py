"""Options from the command line: tyro makes them from dataclasses, whose docstrings are the help."""

import contextlib
import dataclasses
import functools
import io
import types
import typing
from typing import Annotated, Any, TypeVar

import tyro
from tyro.constructors import (
    MISSING,
    MISSING_NONPROP,
    ConstructorRegistry,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

T = TypeVar("T")
POSITIONAL = typing.get_args(tyro.conf.Positional[str])[1]
METAVARS = {"Path": "PATH", "str": "TEXT", "int": "INT", "float": "FLOAT"}


def parse_options(
    kind: type[T], argv: list[str], *, command: str, description: str, default: T | None = None, speaks: bool = True
) -> T:
    """Return ``argv`` as a ``kind``; help and mistakes are printed where ``speaks``, and end the process (0 or 2)."""
    options: dict[str, Any] = {} if default is None else {"default": default}
    silence = io.StringIO()
    with contextlib.ExitStack() as stack:
        if not speaks:  # tyro's own switch, console_outputs, lets some messages through
            stack.enter_context(contextlib.redirect_stdout(silence))
            stack.enter_context(contextlib.redirect_stderr(silence))
        return tyro.cli(
            kind,
            args=argv,
            prog=f"mpitrain {command}",
            description=description,
            config=(tyro.conf.OmitArgPrefixes,),
            registry=make_registry(),
            **options,
        )


def make_registry() -> ConstructorRegistry:
    """Return tyro's rules with one more, for help that reads well."""
    registry = ConstructorRegistry()
    registry.struct_rule(_dataclass_rule)
    return registry


def _dataclass_rule(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Return the fields of a dataclass as options; anything else is left to tyro."""
    kind: Any = info.type
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return None
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = []
    for field in dataclasses.fields(kind):
        hint, default = hints[field.name], _default(info.default, field)
        if not dataclasses.is_dataclass(_bare(hint)):
            placeholder = _metavar(hint, optional=default is not MISSING_NONPROP)
            hint = Annotated[hint, tyro.conf.arg(metavar=placeholder, help_behavior_hint=_say_default)]
        fields.append(StructFieldSpec(field.name, hint, default, helptext=functools.partial(_help, kind, field.name)))
    return StructConstructorSpec(instantiate=kind, fields=tuple(fields))


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


def _metavar(hint: Any, optional: bool) -> str | None:
    """Return the placeholder of an option in the help: PATH, INT... where several values may follow, [RUN] if optional.

    What the field itself names comes first; None leaves it to tyro (choices).
    """
    named = next((extra.metavar for extra in getattr(hint, "__metadata__", ()) if hasattr(extra, "metavar")), None)
    kinds = [_bare(kind) for kind in typing.get_args(_bare(hint)) or [_bare(hint)] if kind is not types.NoneType]
    if typing.get_origin(_bare(hint)) is typing.Literal:
        return named
    name = named or METAVARS.get(getattr(kinds[0], "__name__", ""))
    if name and Ellipsis in kinds:
        name = f"{name}..."
    return f"[{name}]" if name and optional and POSITIONAL in getattr(hint, "__metadata__", ()) else name


def _say_default(label: str) -> str:
    return f"(default: {'none' if label in ('', 'None', repr('')) else label})"


@functools.cache
def _docstrings(kind: type) -> dict[str, str]:
    """Return the docstrings below the fields of ``kind`` and of what it inherits from."""
    import docstring_parser

    found: dict[str, str] = {}
    for parent in reversed(kind.__mro__[:-1]):
        parsed = docstring_parser.parse_from_object(parent)
        found |= {field.arg_name: field.description or "" for field in parsed.params}
    return found


def _help(kind: type, name: str) -> str:
    """Return the docstring of a field as one line, which is wrapped where it is shown."""
    return " ".join(_docstrings(kind).get(name, "").replace("``", "").split())
