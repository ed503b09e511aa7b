"""Folders that other programs load: all files whole, or none of them new."""

from collections.abc import Mapping
from pathlib import Path

from ...data.files import write_atomically
from ...errors import UserError


def write_folder(folder: Path, contents: Mapping[str, bytes | str], marker: str, what: str, force: bool) -> list[Path]:
    """Write files to ``folder``, which is made, and return them.

    Raises
    ------
    UserError
        If it has the file ``marker`` already, of ``what`` is written, and not ``force``; or it cannot be written.
    """
    if (folder / marker).exists() and not force:
        raise UserError(f"{folder} holds {what} already: write over it with --force, or choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from None
    for name, data in contents.items():
        write_atomically(folder / name, data)
    return [folder / name for name in contents]
