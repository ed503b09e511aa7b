"""Journal of a sweep: its events as lines of JSON in a file to which they are only appended.

A line is written by one call and is on the disk before any rank acts on it. A process that is killed while it writes
leaves a part of a line at the end, which counts for nothing and is cut off by the next job.
"""

import json
import os
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..json_text import to_json
from .state import Event

FORMAT, VERSION = "mpitrain-sweep", 1
EVENTS = ("open", "start", "end")


def encode(event: Event) -> bytes:
    """Return the line of an event; numbers that are not finite become texts, which ``float`` reads back."""
    return (to_json(dict(event), words=True) + "\n").encode()


def decode(line: bytes) -> Event:
    """Return the event of a line."""
    event: Event = json.loads(line)
    return event


class Journal:
    """The file, open for appending.

    Parameters
    ----------
    path : Path
        It exists.
    """

    def __init__(self, path: Path):
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)

    def append(self, line: bytes) -> None:
        """Write a line; it is on the disk when this returns.

        Raises
        ------
        UserError
            If it cannot be written.
        """
        try:
            written = os.write(self._file, line)
            if written != len(line):
                raise OSError(28, "no space left on the device")
            os.fsync(self._file)
        except OSError as error:
            raise UserError(f"cannot write {self._path}: {error.strerror}") from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def create(path: Path, facts: dict[str, Any]) -> None:
    """Make a journal with its head, complete or not at all."""
    from ..data.files import write_atomically

    write_atomically(path, to_json({"format": FORMAT, "version": VERSION, **facts}) + "\n")


def read(path: Path) -> tuple[dict[str, Any], list[Event]]:
    """Return the head and the events of a journal; a last line without its end is left out.

    Raises
    ------
    UserError
        If it cannot be read, or is damaged before its last line.
    """
    head, events, _ = _read(path)
    return head, events


def repair(path: Path) -> None:
    """Cut off a last line that is not complete, which no rank has acted on."""
    length = _read(path)[2]
    try:
        if path.stat().st_size > length:
            os.truncate(path, length)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def _read(path: Path) -> tuple[dict[str, Any], list[Event], int]:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    whole = text[: text.rfind(b"\n") + 1]
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or (number > 1 and row["event"] not in EVENTS):
                raise ValueError
        except (ValueError, KeyError):
            raise UserError(f"{path} is damaged: line {number} is no event of a sweep") from None
        rows.append(row)
    if not rows or rows[0].get("format") != FORMAT:
        raise UserError(f"{path} is not the journal of a sweep")
    if rows[0].get("version") != VERSION:
        raise UserError(f"{path} has version {rows[0].get('version')}, and this mpitrain reads version {VERSION}")
    return rows[0], list[Event](rows[1:]), len(whole)
