"""Tables in text files: a header, one sample per line, separated by commas, semicolons or tabs."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from .dataset import CLASSIFICATION, REGRESSION
from .files import nearest, reading

MISSING = ("", "na", "nan", "?")
FEW = 20  # distinct integers that are still taken for classes


@dataclass(frozen=True)
class Table:
    """The cells of a file as text.

    Attributes
    ----------
    path : Path
    columns : dict of column name to the stripped cells of the column
    lines : list of int
        The line of the file on which each row ends.
    """

    path: Path
    columns: dict[str, Sequence[str]]
    lines: list[int]

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """Return columns as (N, F) float64, checked.

        Raises
        ------
        UserError
            If cells are missing, hold text, NaN or infinity.
        """
        self.check_whole(names)
        x = np.empty((len(self.lines), len(names)))
        text = []
        for k, name in enumerate(names):
            try:
                x[:, k] = list(map(float, self.columns[name]))
            except ValueError:
                text.append(name)
        if text:
            row = next(i for i, cell in enumerate(self.columns[text[0]]) if not _is_number(cell))
            many = len(text) > 1
            raise UserError(
                f"{self.path}: column{'s' * many} {_quoted(text)} hold{'s' * (not many)} text (first "
                f"{self.columns[text[0]][row]!r} on line {self.lines[row]}), expected numbers: "
                "drop such columns or encode them"
            )
        rows, places = np.nonzero(~np.isfinite(x))
        if rows.size:
            cell, line = self.columns[names[places[0]]][rows[0]], self.lines[rows[0]]
            raise UserError(f"{self.path}: column {names[places[0]]!r} holds {cell} on line {line}, expected a number")
        return x

    def check_whole(self, names: Sequence[str]) -> None:
        """Raise UserError if cells are missing in columns ``names``: how many, and where the first is."""
        found = [
            (row, name) for name in names for row, cell in enumerate(self.columns[name]) if cell.lower() in MISSING
        ]
        if found:
            row, name = min(found, key=lambda place: place[0])
            raise UserError(
                f"{self.path}: {len(found)} missing value{'s' * (len(found) > 1)}, the first in column {name!r} on "
                f"line {self.lines[row]}: fill in or drop such lines"
            )

    def check_names(self, names: Sequence[str]) -> None:
        """Raise UserError if the table lacks one of the columns ``names``."""
        lacking = [name for name in names if name not in self.columns]
        if lacking:
            hint = nearest(lacking[0], self.columns)
            raise UserError(
                f"{self.path} has no column {_quoted(lacking)}{hint}; its columns are {_quoted(self.columns)}"
            )


def open_table(path: Path) -> Table:
    """Read a file with a header; the separator is what occurs most in it outside of quotes.

    Raises
    ------
    UserError
        If it is no text, has no header or no rows, or a row has too many or too few cells.
    """
    with reading(path, "a table in UTF-8 text"), path.open(encoding="utf-8-sig", newline="") as stream:
        first = re.sub(r'"[^"]*"', "", stream.readline())
        separator = max(",;\t", key=first.count)
        stream.seek(0)
        reader = csv.reader(stream, delimiter=separator)
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header)
        rows, lines = [], []
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise UserError(f"{path}: line {reader.line_num} has {len(row)} cells, but the header {len(header)}")
            rows.append(row)
            lines.append(reader.line_num)
    if not rows:
        raise UserError(f"{path} has a header, but no rows")
    columns: dict[str, Sequence[str]] = {
        name: [cell.strip() for cell in cells] for name, cells in zip(header, zip(*rows))
    }
    return Table(path, columns, lines)


def read_target(table: Table, name: str, task: str | None) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """Return the target column, the task, and how the task was chosen.

    Without ``task`` text or few distinct integers are classes: at most ``FEW``, each twice on average.

    Returns
    -------
    y : (N,) array of float64 (regression), int64 or text (classes)
    task : str
    notes : tuple of str

    Raises
    ------
    UserError
        If cells are missing, or do not fit the task.
    """
    where = f"{table.path}: target {name!r}"
    table.check_whole([name])
    cells = table.columns[name]
    if task is None and not all(map(_is_number, cells)):
        return np.array(cells), CLASSIFICATION, (f"{where} holds text: classification",)
    if task == CLASSIFICATION and not all(map(_is_number, cells)):
        return np.array(cells), task, ()
    values = table.numbers([name])[:, 0]
    whole = values == np.floor(values)
    if task == CLASSIFICATION and not whole.all():
        row = int(np.argmin(whole))
        raise UserError(f"{where} has {cells[row]} on line {table.lines[row]}, but classes are text or integers")
    notes: tuple[str, ...] = ()
    if task is None:
        distinct = len(np.unique(values))
        classes = bool(whole.all()) and distinct <= min(FEW, len(values) / 2)
        task = CLASSIFICATION if classes else REGRESSION
        found = f"{distinct} distinct integers" if classes else "numbers"
        notes = (f"{where} holds {found}: {task} (--task asks for the other)",)
    return (values.astype(np.int64) if task == CLASSIFICATION else values), task, notes


def _check_header(path: Path, header: list[str]) -> None:
    if not any(header):
        raise UserError(f"{path} is empty, expected a header with the names of the columns")
    if all(map(_is_number, header)):
        raise UserError(f"{path} has no header: expected the names of the columns on line 1 and found numbers")
    if "" in header:
        raise UserError(f"{path}: column {header.index('') + 1} has no name in the header")
    repeated = [name for i, name in enumerate(header) if name in header[:i]]
    if repeated:
        raise UserError(f"{path}: the header names {_quoted(repeated[:1])} twice")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _quoted(names: Sequence[str] | dict[str, Sequence[str]]) -> str:
    return ", ".join(repr(name) for name in names)
