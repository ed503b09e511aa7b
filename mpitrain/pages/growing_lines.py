"""Files of JSON lines that another process writes: read up to the last whole line, and from there on later."""

import json
import os
from pathlib import Path
from typing import Any


class GrowingLines:
    """The objects in a file of JSON lines.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    num_bad : int
        Whole lines that are no JSON objects.
    is_cut : bool
        The file ends within a line: it is being written, or its writer was killed.
    """

    def __init__(self, path: Path):
        self._path = path
        self._file, self._offset = (0, 0), 0
        self.num_bad, self.is_cut = 0, False

    def read(self) -> tuple[list[dict[str, Any]], bool]:
        """Return the objects since the last call, and whether the file is another than then, so that all are new."""
        try:
            with open(self._path, "rb") as file:
                facts = os.fstat(file.fileno())
                begins_anew = (facts.st_dev, facts.st_ino) != self._file or facts.st_size < self._offset
                if begins_anew:
                    self._forget()
                    self._file = facts.st_dev, facts.st_ino
                file.seek(self._offset)
                data = file.read()
        except OSError:
            begins_anew = self._file != (0, 0)
            self._forget()
            return [], begins_anew
        end = data.rfind(b"\n") + 1
        self._offset += end
        self.is_cut = end < len(data)
        found = [_parsed(line) for line in data[:end].split(b"\n") if line.strip()]
        self.num_bad += found.count(None)
        return [line for line in found if line is not None], begins_anew

    def _forget(self) -> None:
        self._file, self._offset = (0, 0), 0
        self.num_bad, self.is_cut = 0, False


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
