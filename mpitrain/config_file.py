"""Config trees as TOML files: one table per branch; unknown keys and wrong types are reported with suggestions.

TOML is text, and the name of a file on Linux may be any bytes. A byte that is not UTF-8 is stored as a NUL, which no
name can hold, and two hexadecimal digits: ``caf\\u0000e9.csv`` is the Latin-1 name of café.csv.
"""

import dataclasses
import re
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, Final

import tomli_w

from .config import Config
from .errors import UserError
from .suggest import suggest

BESIDE: Final = ("metrics.jsonl", "model.safetensors", "checkpoints")  # in the directory of a run
SPLIT_BEFORE: Final = "random"  # how test samples were drawn before [data] split was a setting


def read_config(path: Path) -> Config:
    """Return the defaults overridden by the TOML file at ``path``.

    Raises
    ------
    UserError
        For a file that cannot be read, an unknown table or key (the near one is suggested), or a wrong type.
    """
    try:
        tree = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the config file {path}: {getattr(error, 'strerror', None) or error}") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not valid TOML: {error}") from None
    branches = typing.get_type_hints(Config)
    values = {}
    for name, table in tree.items():
        _check_known(path, "table", name, list(branches))
        if not isinstance(table, dict):
            raise UserError(f"{path}: {name} must be a table, [{name}]")
        values[name] = _branch(path, name, branches[name], table)
    return _as_it_was(Config(**values), tree, path)


def _as_it_was(config: Config, tree: dict[str, Any], path: Path) -> Config:
    """Return ``config`` with the former behavior of runs for settings that their file does not name."""
    if "split" in tree.get("data", {}) or not is_of_a_run(path):
        return config
    return dataclasses.replace(config, data=dataclasses.replace(config.data, split=SPLIT_BEFORE))


def is_of_a_run(path: Path) -> bool:
    """Return whether a TOML file is the complete one written by a run into its directory."""
    return path.name == "config.toml" and any((path.parent / name).exists() for name in BESIDE)


def write_config(config: Config) -> str:
    """Return ``config`` as TOML text; ``read_config`` gives the same config back."""
    tables = {
        name: {key: _encode(value) for key, value in table.items() if value is not None}
        for name, table in dataclasses.asdict(config).items()
    }
    return tomli_w.dumps(tables)


def _branch(path: Path, table: str, kind: type, values: dict[str, Any]) -> Any:
    hints = typing.get_type_hints(kind)
    for key, value in values.items():
        _check_known(path, f"key in [{table}]", key, list(hints))
        if not _fits(value, hints[key]):
            raise UserError(f"{path}: {key} in [{table}] is {value!r}, but must be {_name(hints[key])}")
    return kind(**{key: _decode(value) for key, value in values.items()})


def _check_known(path: Path, what: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise UserError(f"{path}: unknown {what}: {name}; {suggest(name, known)}")


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return value in arguments
    if origin is types.UnionType:
        return any(_fits(value, a) for a in arguments)
    if origin is tuple:
        return isinstance(value, list) and all(_fits(v, arguments[0]) for v in value)
    return type(value) is hint or (hint is float and type(value) is int)


def _name(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is types.UnionType:
        return " or ".join(_name(a) for a in arguments if a is not type(None))
    if origin is tuple:
        return "a list of whole numbers"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[hint]


def _encode(value: Any) -> Any:
    """Return ``value`` without the surrogates that stand for bytes which are not UTF-8 (PEP 383)."""
    return (
        re.sub("[\udc80-\udcff]", lambda m: f"\0{ord(m[0]) - 0xDC00:02x}", value) if isinstance(value, str) else value
    )


def _decode(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub("\0([89a-f][0-9a-f])", lambda m: chr(0xDC00 + int(m[1], 16)), value)
    return tuple(value) if isinstance(value, list) else value
