"""Samples for a trained model in pieces, which ranks read apart from each other: files may be larger than memory."""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ..files import file
from ..sources import inherit_options, parse_source
from ..tables import parse_csv_source
from ..tables.options import CsvOptions
from ..tables.parts import Division, at_its_line, divide_file
from ..tables.rows import read_samples
from ..tables.table import NoRowsError
from ..text import has_text
from .rows import ALL, Rows, open_samples
from .signature import Signature

PIECES = 256  # of a source, where they have LEAST to MOST bytes
LEAST, MOST = 1 << 16, 1 << 23


class Pieces(ABC):
    """Samples without targets, in pieces that depend on the source only.

    Attributes
    ----------
    name : str
        Name of the source.
    split : str
        "all", or the split of the source that they are.
    notes : tuple of str
        Sentences for the user.
    """

    name: str
    split: str = ALL
    notes: tuple[str, ...] = ()

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of pieces."""

    @abstractmethod
    def read(self, number: int) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return the samples (n, ...) of a piece, n may be 0, and notes on it.

        Raises
        ------
        UserError
            If they are not of the model's kind.
        """

    def files(self, number: int) -> np.ndarray:
        """Return the file of each sample of a piece, text of one dtype for all; empty where samples are no files."""
        return np.empty(0, np.str_)


class ArrayPieces(Pieces):
    """Rows of an array, which may be a memory map.

    Parameters
    ----------
    rows : Rows
        One split.
    batch : int
        Samples that a piece has a multiple of.
    """

    def __init__(self, rows: Rows, batch: int):
        (self.samples,) = rows.parts
        self.rows, self._files = rows, np.array(rows.files, np.str_)
        self.name, self.split, self.notes = rows.name, rows.split, rows.notes
        x = self.samples.x
        size = max(1, math.prod(x.shape[1:]) * x.dtype.itemsize)
        wanted = min(max(LEAST, len(x) * size // PIECES), MOST) // size
        self.step: int = max(batch, wanted // batch * batch)

    def __len__(self) -> int:
        return -(-len(self.rows) // self.step)

    def slice_of(self, number: int) -> slice:
        """Return the rows of a piece."""
        return slice(number * self.step, min((number + 1) * self.step, len(self.samples)))

    def read(self, number: int) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return rows of the array."""
        x: np.ndarray = self.samples.x[self.slice_of(number)]
        return x, ()

    def files(self, number: int) -> np.ndarray:
        """Return the files of a piece, if samples are files."""
        return self._files[self.slice_of(number)]


class TablePieces(Pieces):
    """Parts of a csv file, one until it is divided.

    Attributes
    ----------
    path : Path
    parts : list of CsvOptions
    """

    def __init__(self, path: Path, options: CsvOptions, signature: Signature):
        self.path, self.parts, self._signature = path, [options], signature
        self.name = path.stem

    def division(self) -> Division:
        """Return the division of the file, whose result are ``parts``."""
        return divide_file(self.path, self.parts[0])

    def __len__(self) -> int:
        return len(self.parts)

    def read(self, number: int) -> tuple[np.ndarray, tuple[str, ...]]:
        """Read a part; errors name lines of the file."""
        options = self.parts[number]
        try:
            return self._read(options)
        except NoRowsError:
            if len(self) == 1:
                raise
            return np.empty((0, *self._signature.input_shape)), ()  # blank lines
        except UserError:
            return self._read(at_its_line(self.path, options))

    def _read(self, options: CsvOptions) -> tuple[np.ndarray, tuple[str, ...]]:
        table, x, notes = read_samples(self.path, options, self._signature, with_targets=False)
        self.name = table.name
        return x, notes


def open_pieces(source: str, signature: Signature, at_once: Callable[[Any], int]) -> Pieces:
    """Open samples without targets in pieces; as ``rows.open_samples``, without reading the rows of a csv file.

    Parameters
    ----------
    at_once : callable(array) -> int
        Samples of a batch: pieces have a multiple of them, so that batches are the same on any number of ranks.

    Raises
    ------
    UserError
        As ``rows.open_samples``, for what concerns all of the source.
    """
    kind, place = parse_source(inherit_options(source, signature.source))
    if kind == "csv" and not has_text(kind, place):
        name, options = parse_csv_source(place)
        return TablePieces(file(options.test or name, kind), dataclasses.replace(options, test=""), signature)
    rows = open_samples(source, signature)
    return ArrayPieces(rows, at_once(rows.parts[0].x))
