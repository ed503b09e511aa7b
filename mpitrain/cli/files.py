"""Output files of commands: check that they are writable before any long work."""

import os
import tempfile
from pathlib import Path

from ..errors import UserError


def check_writable(path: Path | None) -> None:
    """Make the folder of ``path`` and check that the file is writable, without changing it.

    Raises
    ------
    UserError
        If it could not.
    """
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(0, "it is a directory")
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(0, "no permission to write it")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def write(path: Path, text: str) -> None:
    """Write ``text``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
