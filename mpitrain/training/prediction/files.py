"""Files of predictions, which grow piece by piece and appear when they are whole.

Shapes: n rows of a piece.
"""

import contextlib
import io
import itertools
import os
import pickle
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

import numpy as np
from numpy.lib import format as npy

from ...data.files import temporary_beside
from ...errors import UserError

Columns = Mapping[str, np.ndarray]
"""Columns of a piece by name, (n, ...) arrays."""


class PredictionFile(Protocol):
    """A file of predictions. Any rank encodes pieces, one takes them in order."""

    def encode(self, columns: Columns, *, first: bool) -> bytes:
        """Return the text or bytes of a piece; ``first`` for the first one of the file."""

    def take(self, piece: bytes | memoryview) -> None:
        """Write the next piece."""

    def finish(self) -> None:
        """Let the file appear under its name."""

    def __enter__(self) -> "PredictionFile":
        """Begin to write."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove what was not finished."""


class CsvFile:
    """Predictions as CSV.

    Parameters
    ----------
    path : Path
    digits : int
        Digits of numbers.

    Raises
    ------
    UserError
        If it cannot be written; nothing is left behind.
    """

    def __init__(self, path: Path, digits: int):
        self.path, self._digits = path, digits
        self._temporary = temporary_beside(path)
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "CsvFile":
        with _writing(self.path):
            self._file = open(self._temporary, "wb")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # of a full disk, which was said
                self._file.close()
            with contextlib.suppress(OSError):
                self._temporary.unlink()

    def encode(self, columns: Columns, *, first: bool) -> bytes:
        """Return the lines of a piece, below the header if it is the first."""
        lines = csv_lines(columns, self._digits)
        if first:
            lines = ",".join(map(quoted, columns)) + "\n" + lines
        return lines.encode("utf-8", "surrogateescape")

    def take(self, piece: bytes | memoryview) -> None:
        """Write the next lines."""
        assert self._file is not None
        with _writing(self.path):
            self._file.write(piece)

    def finish(self) -> None:
        """Let the file appear under its name."""
        assert self._file is not None
        with _writing(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
            os.replace(self._temporary, self.path)


class NpzFile:
    """Predictions as arrays of an npz archive, uncompressed.

    Parameters
    ----------
    path : Path
    constants : dict of str to array
        Arrays that are not of pieces.

    Raises
    ------
    UserError
        If it cannot be written; nothing is left behind.
    """

    def __init__(self, path: Path, constants: Columns | None = None):
        self.path, self._constants = path, constants or {}
        self._temporary = temporary_beside(path)
        self._parts: dict[str, IO[bytes]] = {}
        self._facts: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
        self._rows = 0

    def __enter__(self) -> "NpzFile":
        with _writing(self.path), tempfile.TemporaryFile(dir=self.path.parent):
            pass
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for part in self._parts.values():
            with contextlib.suppress(OSError):
                part.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()

    def encode(self, columns: Columns, *, first: bool) -> bytes:
        """Return the arrays of a piece."""
        return pickle.dumps({name: np.ascontiguousarray(column) for name, column in columns.items()}, 5)

    def take(self, piece: bytes | memoryview) -> None:
        """Append to each array."""
        columns: dict[str, np.ndarray] = pickle.loads(piece)  # of ``encode`` on a rank of this job
        with _writing(self.path):
            for name, column in columns.items():
                if name not in self._parts:
                    self._parts[name] = tempfile.TemporaryFile(dir=self.path.parent)  # noqa: SIM115
                    self._facts[name] = column.dtype, column.shape[1:]
                self._parts[name].write(column.astype(self._facts[name][0], copy=False).data)
        self._rows += len(next(iter(columns.values())))

    def finish(self) -> None:
        """Write the archive, and let it appear under its name."""
        with _writing(self.path):
            with zipfile.ZipFile(self._temporary, "w") as archive:
                for name, part in self._parts.items():
                    dtype, shape = self._facts[name]
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        _write_header(member, dtype, (self._rows, *shape))
                        part.seek(0)
                        shutil.copyfileobj(part, member, 1 << 20)
                for name, array in self._constants.items():
                    with archive.open(f"{name}.npy", "w") as member:
                        npy.write_array(member, array, allow_pickle=False)
            os.replace(self._temporary, self.path)


def write_columns(path: Path, columns: Columns, digits: int) -> None:
    """Write columns of equal length as .npz or .csv, numbers with ``digits`` digits.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    file: CsvFile | NpzFile = NpzFile(path) if path.suffix == ".npz" else CsvFile(path, digits)
    with file:
        file.take(file.encode(columns, first=True))
        file.finish()


def _write_header(member: IO[bytes], dtype: np.dtype, shape: tuple[int, ...]) -> None:
    header = io.BytesIO()
    npy.write_array_header_2_0(header, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    member.write(header.getvalue())


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def csv_lines(columns: Columns, digits: int) -> str:
    """Return rows of CSV, numbers with ``digits`` digits.

    >>> csv_lines({"class": np.array(["a", "b,c"]), "p": np.array([0.5, 1 / 3])}, 3)
    'a,0.5\\n"b,c",0.333\\n'
    """
    cells: list[list[object]] = []
    marks = []
    for column in columns.values():
        values = column.tolist()
        text = column.dtype.kind in "USO"
        marks.append("%s" if text else f"%.{digits}g")
        cells.append(_quoted_all(values) if text else values)
    row = ",".join(marks) + "\n"
    count = len(cells[0]) if cells else 0
    return row * count % tuple(itertools.chain.from_iterable(zip(*cells, strict=True)))


def _quoted_all(values: list[str]) -> list[object]:
    known: dict[str, str] = {}
    return [known.get(value) or known.setdefault(value, quoted(value)) for value in values]


def quoted(text: str) -> str:
    """Return a cell quoted by RFC 4180, so that any reader returns the same text, outer blanks included."""
    if re.search(r'[,;"\r\n]|^\s|\s$|^$', text) is None:
        return text
    return '"' + text.replace('"', '""') + '"'
