"""Caches of data that took long to make: files that appear whole or not at all, named by what they were made from."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from .files import temporary_beside, write_atomically

FORMAT = "1"  # of the names; another one makes all files anew


@dataclass(frozen=True)
class Cache:
    """A folder of files of one kind, any of which may be removed.

    Attributes
    ----------
    name : str
        Of the folder, as in "tokens": mpitrain/tokens in the user's cache, or the one in MPITRAIN_TOKENS.
    contents : str
        The files in messages, as in "encoded text".
    """

    name: str
    contents: str

    @property
    def variable(self) -> str:
        """The environment variable that names another folder."""
        return f"MPITRAIN_{self.name.upper()}"

    def folder(self) -> Path:
        """Return the folder, which need not exist."""
        chosen = os.environ.get(self.variable)
        if chosen:
            return Path(chosen)
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mpitrain" / self.name

    def path_for(self, facts: Iterable[object], suffix: str) -> Path:
        """Return the path of the file that is made from ``facts``."""
        hashed = hashlib.blake2b(FORMAT.encode(), digest_size=16)
        for fact in facts:
            hashed.update(f"\n{fact}".encode("utf-8", "surrogateescape"))
        return self.folder() / f"{hashed.hexdigest()}{suffix}"

    @contextlib.contextmanager
    def new_folder(self, path: Path) -> Iterator[Path]:
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
            raise self.refusal(path, error) from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def make(self, path: Path, write: Callable[[Path], object]) -> None:
        """Make a directory by ``write(temporary directory)`` unless it is there; other processes wait meanwhile.

        A lock of the file system is held, which a process that dies gives back; what it has left is removed. Where
        there are no such locks, each process makes its own, and the first one stays.

        Raises
        ------
        UserError
            If it cannot be written.
        """
        if path.is_dir():
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path.with_name(f".{path.name}.lock"), "wb") as lock:
                with contextlib.suppress(OSError):
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    for left in path.parent.glob(f".{path.name}.{os.uname().nodename}.*"):
                        shutil.rmtree(left, ignore_errors=True)
                if not path.is_dir():
                    with self.new_folder(path) as folder:
                        write(folder)
        except OSError as error:
            raise self.refusal(path, error) from None

    def write(self, path: Path, data: np.ndarray | bytes, *, wait: bool = True) -> None:
        """Write a file; of several processes that write the same one, each leaves it whole.

        Without ``wait`` it may be lost, or empty, after a crash of the machine.

        Raises
        ------
        UserError
            If it cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = data if isinstance(data, bytes) else np.ascontiguousarray(data).data
            write_atomically(path, whole, wait=wait)
        except (OSError, UserError) as error:
            raise self.refusal(path, error.__cause__ or error) from None

    def refusal(self, path: Path, error: BaseException) -> UserError:
        """Return the error of a file that cannot be written."""
        reason = getattr(error, "strerror", None) or error
        return UserError(
            f"{self.contents} cannot be kept in {path.parent}: {reason}; set {self.variable} to another folder"
        )


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


def _replace_folder(source: Path, path: Path) -> None:
    try:
        os.rename(source, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError from None
        raise
