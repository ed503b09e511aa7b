"""Files of JSON lines with a head: the first object names the format and its version."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .errors import UserError


def parse_lines(
    lines: Iterable[str], name: str, *, format: str, version: int, kind: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the head and the further objects of a file.

    Parameters
    ----------
    lines : iterable of str
    name : str
        Name of the file, for messages.
    format, version : str, int
        Those of the head.
    kind : str
        Kind of file, for messages: "trace".

    Raises
    ------
    UserError
        For a line that is no object, or another format or version.
    """
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            raise UserError(f"{name}, line {number} is not JSON") from None
        if not isinstance(row, dict):
            raise UserError(f"{name}, line {number} is not an object")
        rows.append(row)
    if not rows or rows[0].get("format") != format:
        raise UserError(f"{name} is not a {kind} of mpitrain (its first line has no format {format!r})")
    if rows[0].get("version") != version:
        raise UserError(f"{name} has version {rows[0].get('version')}, and this mpitrain reads version {version}")
    return rows[0], rows[1:]


def read_lines(path: str | Path, kind: str) -> list[str]:
    """Return the lines of a text file."""
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(f"cannot read the {kind} {path}: {why}") from None


def whole(value: Any) -> int:
    """Return ``value``; raise ValueError unless it is a whole number from 0 on."""
    if type(value) is not int or value < 0:
        raise ValueError
    return value
