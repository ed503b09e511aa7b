"""The cache of encoded text: files that appear whole or not at all, named by what they were made from."""

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..files import temporary_beside, write_atomically

FOLDER_VARIABLE = "MPITRAIN_TOKENS"
FORMAT = "1"  # of the names; another one makes all files anew


def folder() -> Path:
    """Return the folder: MPITRAIN_TOKENS, or mpitrain/tokens in the user's cache."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mpitrain" / "tokens"


def path_for(facts: Iterable[object], suffix: str) -> Path:
    """Return the path of the file that is made from ``facts``."""
    text = "\n".join(map(str, (FORMAT, *facts)))
    return folder() / f"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}{suffix}"


def facts_of(path: Path) -> tuple[Path, int, int]:
    """Return what tells that a file is as it was: its absolute path, its size and the time of its last change.

    Raises
    ------
    UserError
        If it is not there.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    return path.absolute(), found.st_size, found.st_mtime_ns


def size_of(path: Path) -> int:
    """Return the bytes of a file; raises UserError if it is not there."""
    return facts_of(path)[1]


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a directory to write files to, which becomes ``path`` at the end of the block.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    temporary = temporary_beside(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        with contextlib.suppress(FileExistsError):  # another process was faster, and has left the same
            _replace_folder(temporary, path)
    except OSError as error:
        raise _refusal(path, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_folder(source: Path, path: Path) -> None:
    try:
        os.rename(source, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError from None
        raise


def write(path: Path, data: np.ndarray | bytes) -> None:
    """Write a file of the cache; of several processes that write the same one, each leaves it whole.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data if isinstance(data, bytes) else np.ascontiguousarray(data).data)
    except (OSError, UserError) as error:
        raise _refusal(path, error.__cause__ or error) from None


def _refusal(path: Path, error: BaseException) -> UserError:
    reason = getattr(error, "strerror", error)
    return UserError(f"encoded text cannot be kept in {path.parent}: {reason}; set {FOLDER_VARIABLE} to another folder")
