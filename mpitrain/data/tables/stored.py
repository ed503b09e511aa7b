"""Tables whose numbers are more than fits in memory: encoded once, in files of the cache that all ranks map.

Shapes: N rows, C columns of the table, F columns of the samples.
"""

import dataclasses
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...json_text import to_json
from ..cache import Cache, facts_of
from ..categories import Category
from .encoded import EncodedTable, Part, Room
from .encoding import Encoding
from .matrix import Matrix
from .options import CsvOptions
from .parquet import parquet_files

CACHE = Cache("tables", "encoded tables")
LARGE = 128 << 20
"""Bytes of a file from which on its numbers are kept in files."""
PACKED = 4
"""The size of a text in its compressed file's."""
VERSION = 1  # of the folders
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".parquet")
_FACTS = "table.json"


def is_large(*paths: Path) -> bool:
    """Return whether the numbers of some files are kept in files rather than in memory."""
    sizes = [size * (PACKED if file.suffix in _PACKED else 1) for path in paths for file, size, _ in files_of(path)]
    return sum(sizes) > LARGE


def files_of(path: Path) -> list[tuple[Path, int, int]]:
    """Return the path, size and time of the last change of a file, or of the Parquet files in a directory."""
    return [facts_of(file) for file in parquet_files(path)]


def stored(
    paths: Sequence[Path],
    options: CsvOptions,
    facts: Sequence[object],
    encoding: Encoding | None,
    read: Callable[[Room], EncodedTable],
) -> EncodedTable:
    """Return the table that ``read`` makes, from the cache if it is there.

    Parameters
    ----------
    paths : sequence of Path
        The files that it is made from.
    facts : sequence
        What else decides its contents.
    encoding : Encoding or None
        The one that ``read`` applies, if it does not choose one.
    """
    known = [VERSION, options, *(fact for path in paths for fact in files_of(path)), *facts]
    folder = CACHE.path_for([*known, None], "")
    if encoding is not None and not (folder.is_dir() and load(folder).encoding.digest() == encoding.digest()):
        folder = CACHE.path_for([*known, encoding.digest()], "")
    CACHE.make(folder, lambda new: save(read(FolderRoom(new)), new))
    table = load(folder)
    where = f"{paths[0]}: it is large, and its numbers are kept in {folder} ({CACHE.variable} names another folder)"
    return dataclasses.replace(table, notes=(*table.notes, where))


class FolderRoom(Room):
    """Arrays in files of a folder.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path):
        self._folder, self._count = folder, 0

    def _next(self) -> Path:
        self._count += 1
        return self._folder / f"{self._count}.bin"

    def matrix(self, num_columns: int) -> Matrix:
        """Return a matrix that grows in a file."""
        return FileMatrix(self._next(), num_columns)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return a mapped array."""
        path, size = self._next(), max(1, math.prod(shape) * np.dtype(dtype).itemsize)
        try:
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)  # a full disk is found here, not when the map is written to
            return np.memmap(path, dtype, "r+", shape=shape)
        except OSError as error:
            raise CACHE.refusal(self._folder, error) from None


class FileMatrix(Matrix):
    """A float64 matrix that grows by rows in a file.

    Parameters
    ----------
    path : Path
    num_columns : int
    """

    def __init__(self, path: Path, num_columns: int):
        super().__init__(num_columns)
        self._path, self._width = path, num_columns
        self._file = path.open("wb")

    def replace(self, column: int, values: np.ndarray) -> None:
        """Replace the values of the first rows in a column."""
        self._mapped()[: len(values), column] = values

    def reserve(self, num_rows: int) -> None:
        """Do nothing: a file has room."""

    def extend(self, columns: Any, num_rows: int) -> None:
        """Append rows, given as columns of (num_rows,) float64."""
        rows = np.empty((num_rows, self._width))
        for k, column in enumerate(columns):
            rows[:, k] = column
        try:
            self._file.write(rows.data)
        except OSError as error:
            raise CACHE.refusal(self._path.parent, error) from None
        self._used += num_rows

    def finish(self) -> np.ndarray:
        """Return the (N, C) matrix, mapped."""
        found = self._mapped()
        self._file.close()
        return found

    def _mapped(self) -> np.ndarray:
        self._file.flush()
        shape = self._used, self._width
        return np.memmap(self._path, np.float64, "r+", shape=shape) if all(shape) else np.empty(shape)


def save(table: EncodedTable, folder: Path) -> None:
    """Write what ``load`` reads; the samples are in the folder already, in files of a ``FolderRoom``."""
    kept = {_FACTS}
    arrays = []
    for k, part in enumerate(table.parts):
        x: Any = part.x
        x.flush()
        name = Path(x.filename).name
        np.save(folder / f"y{k}.npy", part.y)
        kept |= {name, f"y{k}.npy"}
        arrays.append({"x": name, "dtype": x.dtype.name, "shape": list(x.shape)})
    encoding = table.encoding
    facts = {
        "name": table.name,
        "task": table.task,
        "target_name": table.target_name,
        "class_names": list(table.class_names),
        "notes": list(table.notes),
        "encoding": encoding.facts(),
        "categories": [None if one is None else one.facts() for one in encoding.categories],
        "arrays": arrays,
    }
    (folder / _FACTS).write_text(to_json(facts))
    for file in folder.iterdir():
        if file.name not in kept:
            file.unlink()


def load(folder: Path) -> EncodedTable:
    """Return the table that ``save`` has written, with its samples mapped."""
    facts: dict[str, Any] = json.loads((folder / _FACTS).read_text())
    categories = [None if one is None else Category.from_facts(one) for one in facts["categories"]]
    parts = [
        Part(
            np.memmap(folder / one["x"], one["dtype"], "r", shape=tuple(one["shape"])),
            np.load(folder / f"y{k}.npy"),
        )
        for k, one in enumerate(facts["arrays"])
    ]
    return EncodedTable(
        facts["name"],
        facts["task"],
        tuple(parts),
        Encoding.from_facts(facts["encoding"], categories),
        facts["target_name"],
        tuple(facts["class_names"]),
        tuple(facts["notes"]),
    )
