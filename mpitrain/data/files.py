"""Files to read and to write, with errors of the system and of decoders as one sentence."""

import contextlib
import csv
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import UserError


@contextlib.contextmanager
def reading(path: Path, expected: str) -> Iterator[None]:
    """Convert exceptions from reading ``path`` to a UserError that names it and the ``expected`` content."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: no such file, expected {expected}") from None
    except EOFError:
        raise UserError(f"{path} is cut off: it ends too early for {expected}") from None
    except (zlib.error, zipfile.BadZipFile, csv.Error, ValueError, RuntimeError) as error:  # RuntimeError: encrypted
        raise UserError(f"{path} is damaged or not {expected} ({one_line(error)})") from None
    except OSError as error:  # gzip.BadGzipFile among them
        reason = (
            f"cannot be read ({error.strerror})"
            if error.strerror
            else f"is damaged or not {expected} ({one_line(error)})"
        )
        raise UserError(f"{path} {reason}") from None


def folder(place: str, source: str) -> Path:
    """Return the directory named in ``source``.

    Raises
    ------
    UserError
        If it is missing or no directory.
    """
    if not place:
        raise UserError(f"{source}: say which directory, as in {source}:DIR")
    path = Path(place).expanduser()
    if not path.exists():
        raise UserError(f"{source}:{place}: there is no directory {path}")
    if not path.is_dir():
        raise UserError(f"{source}:{place}: {path} is a file, expected the directory that holds the set")
    return path


def file(place: str, source: str) -> Path:
    """Return the file named in ``source``.

    Raises
    ------
    UserError
        If it is missing or no file.
    """
    if not place:
        raise UserError(f"{source}: say which file, as in {source}:FILE")
    path = Path(place).expanduser()
    if not path.exists():
        raise UserError(f"{source}:{place}: there is no file {path}")
    if path.is_dir():
        raise UserError(f"{source}:{place}: {path} is a directory, expected a file")
    return path


def temporary_beside(path: Path) -> Path:
    """Return a hidden path beside ``path`` that no other process of any node uses."""
    return path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}")


def write_atomically(
    path: Path, data: bytes | memoryview | str | Iterable[bytes | memoryview], *, wait: bool = True
) -> None:
    """Write ``data``, or its parts, to ``path`` atomically: readers find the old or the new, also after a crash.

    Without ``wait`` for the disk, not after a crash of the machine.

    Raises
    ------
    UserError
        If it cannot be written; its cause is the OSError.
    """
    temporary = temporary_beside(path)
    try:
        with open(temporary, "wb") as file:
            whole = (
                [data.encode()] if isinstance(data, str) else [data] if isinstance(data, bytes | memoryview) else data
            )
            file.writelines(whole)
            file.flush()
            if wait:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def one_line(error: BaseException) -> str:
    """Return the message of ``error`` on one line, or the name of its class if it has none."""
    return " ".join(str(error).split()) or type(error).__name__
