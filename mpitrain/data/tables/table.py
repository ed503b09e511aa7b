"""Tables in text files: a header, one sample per row, numbers and text in columns."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UserError
from .cells import Kind, Role
from .columns import MANY, UNLIMITED, Column, Texts
from .dates import DateFormat
from .options import CsvOptions, split_categories, split_names
from .reader import Reader, TableReader
from .words import check_names, quoted, shortened

if TYPE_CHECKING:
    from .parquet import ParquetReader


class NoRowsError(UserError):
    """A table that has a header, but no rows."""


@dataclass(frozen=True)
class Table:
    """A file read into numbers.

    Texts are kept for the target only; ``columns`` and ``numbers`` of other columns read the file again.

    Attributes
    ----------
    path : Path
    options : CsvOptions
    lines : sequence of int
        The line of the file on which each row ends.
    targets : tuple of str
        Columns that ``options.target`` names; empty if there is none.
    features : tuple of str
        Columns to learn from: by default all but the targets, those to drop and the index of a data frame.
    index : tuple of str
        Names of the columns taken for an index, empty for one without a name.
    categories : tuple of str
        Columns that ``options.categories`` names.
    """

    path: Path
    options: CsvOptions
    lines: Sequence[int]
    targets: tuple[str, ...]
    features: tuple[str, ...]
    index: tuple[str, ...]
    read: "TableReader | ParquetReader"
    stamp: tuple[int, ...]
    categories: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the file without its suffixes."""
        if self.path.is_dir():
            return self.path.name
        packed = self.path.suffix.lower() in (".gz", ".bz2", ".xz", ".zst")
        return Path(self.path.stem).stem if packed else self.path.stem

    def place(self, row: int) -> str:
        """Return where a row is, as in "line 5" of a text."""
        return f"{self.read.unit} {self.lines[row]}"

    @functools.cached_property
    def columns(self) -> Mapping[str, Sequence[str]]:
        """The stripped cells of each column by its name."""
        return _Cells(self)

    @functools.cached_property
    def _matrix(self) -> np.ndarray:
        return self.read.matrix.finish()

    @functools.cached_property
    def _rest(self) -> np.ndarray:
        return self.read.rest.finish()

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """Return columns as (N, F) float64, checked.

        For ``features`` this is the table's own array, not a copy.

        Raises
        ------
        UserError
            If cells are missing, or hold text, infinity, or True and False among numbers.
        """
        self.check_names(names)
        unread = [name for name in names if name not in self.read.columns]
        if unread:
            return self.again(names).numbers(names)
        self.check_whole(names)
        self.check_numbers(names)
        if tuple(names) == self.features:
            return self._matrix
        x = np.empty((len(self.lines), len(names)))
        for k, name in enumerate(names):
            x[:, k] = self.values(name)
        return x

    @property
    def raw(self) -> np.ndarray:
        """(N, C) float64: the features, unchecked, NaN where they are no numbers or dates; of categories the places of
        texts."""
        return self._matrix

    def has_missing(self, names: Sequence[str]) -> bool:
        """Return whether values are missing in columns that were read."""
        return any(self.column(name).tally.count(*self.missing_kinds(name)) for name in names)

    def values(self, name: str) -> np.ndarray:
        """Return a column that was read as (N,) float64, unchecked: NaN for cells that are not numbers."""
        place = self.places[name]
        dense = len(self.features)
        return self._matrix[:, place] if place < dense else self._rest[:, place - dense]

    @functools.cached_property
    def places(self) -> dict[str, int]:
        """The places of the columns that were read: the features', and then the others'."""
        return {name: place for place, name in enumerate(self.read.columns)}

    def column(self, name: str) -> Column:
        """Return the counts of a column's cells by kind and, if they are kept, their texts."""
        return self.read.columns[name] if name in self.read.columns else self.again([name]).column(name)

    def texts(self, name: str) -> Texts:
        """Return the exact, stripped texts of a column."""
        kept = self.read.columns[name].texts if name in self.read.columns else None
        if kept is not None:
            return kept
        texts = self.again([], [name]).column(name).texts
        assert texts is not None
        return texts

    def check_whole(self, names: Sequence[str], as_text: bool = False) -> None:
        """Raise UserError if cells are missing in columns ``names``: with their number and the first location.

        In a column of text, a word such as NA is a value, unless the option na= says that it is missing. With
        ``as_text`` all columns are taken for such.
        """
        count, found = 0, []
        for name in names:
            tally = self.column(name).tally
            kinds = self.missing_kinds(name, as_text)
            count += tally.count(*kinds)
            found += [(row, cell, name) for row, cell in tally.earliest(*kinds)]
        if found:
            row, cell, name = min(found, key=lambda place: place[0])
            shown = f" ({cell!r})" if cell else ""
            raise UserError(
                f"{self.path}: {count} missing value{'s' * (count > 1)}, the first in column {name!r} on "
                f"{self.place(row)}{shown}: fill in or drop such lines"
            )

    def check_names(self, names: Sequence[str]) -> None:
        """Raise UserError if the table lacks one of the columns ``names``."""
        check_names(self.path, names, self.columns)

    def missing_kinds(self, name: str, as_text: bool = False) -> tuple[Kind, ...]:
        """Return the kinds of cells that are missing values in a column (see ``check_whole``)."""
        text = (as_text or self.column(name).tally.is_text) and self.options.na is None
        return (Kind.EMPTY,) if text else (Kind.EMPTY, Kind.MISSING)

    def check_numbers(self, names: Sequence[str]) -> None:
        """Raise UserError if columns that were read hold text, infinity, or True and False among numbers."""
        text = [name for name in names if self.column(name).tally.is_text]
        if text:
            many = len(text) > 1
            tally = self.column(text[0]).tally
            found = tally.earliest(Kind.TEXT) or tally.earliest(Kind.BOOLEAN)
            row, cell = found[0]
            raise UserError(
                f"{self.path}: column{'s' * many} {quoted(text)} hold{'s' * (not many)} text (first "
                f"{shortened(cell)} on {self.place(row)}), expected numbers: "
                + (self.hint(*(cell for _, cell in found)) or f"leave such columns out (drop={text[0]})")
            )
        for name in names:
            tally = self.column(name).tally
            if tally.count(*tally.odd_kinds):
                raise UserError(f"{self.path}: column {name!r} {self.odd_cells(name)}")

    def odd_cells(self, name: str) -> str:
        """Return the error about cells in a column of numbers that are not numbers, with their lines and a hint."""
        tally = self.column(name).tally
        odd = tally.earliest(*tally.odd_kinds)
        count = tally.count(*tally.odd_kinds)
        shown = ", ".join(f"{shortened(cell)} on {self.place(row)}" for row, cell in odd)
        more = f" and {count - len(odd):,} more" if count > len(odd) else ""
        if not tally.count(Kind.TEXT, Kind.BOOLEAN):  # infinite
            return f"holds {shortened(odd[0][1])[1:-1]} on {self.place(odd[0][0])}, expected a number"
        dates = self.column(name).role == Role.DATE
        hint = "" if dates else self.hint(*(cell for _, cell in odd))
        if not hint:
            other = f"; categories={name} takes all for categories" if name in self.features and not dates else ""
            hint = f"mend these cells, or say that they are missing (na=){other}"
        return f"holds {'dates' if dates else 'numbers'}, but also {shown}{more}: {hint}"

    def hint(self, *cells: str) -> str:
        """Return the options that turn the cells into numbers, with the first result; empty without any.

        Options that read all cells go before those that read the first.
        """
        notation = self.options.format
        found = notation.other_notations(*cells) or notation.other_notations(cells[0])
        return ", or ".join(f"{options} reads it as {value:.15g}" for options, value in found)

    def again(self, features: Sequence[str], keep: Sequence[str] = ()) -> "Table":
        """Read other columns of the file."""
        reader = make_reader(self.path, self.options, self.read.kind)
        if _stamp(self.path) != self.stamp:
            raise UserError(f"{self.path} has changed while it was read")
        reader.read(features, keep, dict.fromkeys(keep, UNLIMITED))
        return Table(
            self.path, self.options, reader.lines, tuple(keep), tuple(features), self.index, reader, self.stamp
        )


class _Cells(Mapping[str, Sequence[str]]):
    """Cells of a table by column, read on request."""

    def __init__(self, table: Table):
        self._table = table
        self._names = {name: None for name in table.read.header.names if name}  # in order

    def __getitem__(self, name: str) -> Sequence[str]:
        if name not in self:
            raise KeyError(name)
        texts = self._table.texts(name)
        cells = texts.cells
        return [cells[code] for code in texts.codes.tolist()]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def open_table(
    path: Path,
    options: CsvOptions | None = None,
    *,
    features: Sequence[str] | None = None,
    keep_all: bool = False,
    reader: Reader = "auto",
) -> Table:
    """Read a file with a header.

    Parameters
    ----------
    path : Path
        Text in any of the forms that docs/tables.md names.
    options : CsvOptions, optional
    features : sequence of str, optional
        The columns to read besides the target, in this order.
    keep_all : bool
        Keep texts of all columns, for a report.
    reader : "auto", "csv" or "arrow"
        The csv module, or pyarrow; auto takes pyarrow for large files if it is installed. The result is the same.

    Raises
    ------
    UserError
        If it is no text, has no header or no rows, lacks a column that is asked for, or a row has too many or too few
        cells.
    """
    table = begin_table(path, options or CsvOptions(), features, reader)
    read_rows(table, keep_all)
    return table


def begin_table(path: Path, options: CsvOptions, features: Sequence[str] | None, reader: Reader = "auto") -> Table:
    """Return a table with only its header read."""
    source = make_reader(path, options, reader)
    header = source.header
    named = {name: None for name in header.names if name}  # in order
    targets = list(dict.fromkeys(split_names(options.target, named)))
    if targets and any(name not in named for name in targets):
        check_names(path, [options.target], named)
    dropped = [] if features else [name for value in options.drop for name in split_names(value, named)]
    check_names(path, dropped, named)
    wanted = {*dropped, *targets, *(features or ())}
    index = tuple(header.names[k] for k in header.index if header.names[k] not in wanted)
    given = features is not None
    if features is None:
        features = [name for name in named if name not in {*dropped, *targets, *index}]
    check_names(path, features, named)
    categories = tuple(name for value in options.categories for name in split_categories(value, named))
    if not given:
        check_names(path, categories, named)
    stamp = _stamp(path)
    return Table(path, options, source.lines, tuple(targets), tuple(features), index, source, stamp, categories)


def read_rows(table: Table, keep_all: bool = False, roles: Mapping[str, Role | DateFormat] | None = None) -> None:
    """Read the rows of a table that ``begin_table`` has made.

    Parameters
    ----------
    roles : dict of str to Role or DateFormat
        The roles of features that may be others than numbers.
    """
    keep = [*table.targets, *table.features] if keep_all else table.targets
    others = [name for name in table.targets if name not in table.features]
    table.read.read(table.features, others, dict.fromkeys(keep, MANY), roles)
    if not table.lines:
        raise NoRowsError(f"{table.path} has a header, but no rows")


def make_reader(path: Path, options: CsvOptions, reader: Reader = "auto") -> "TableReader | ParquetReader":
    """Return the reader of a table, with its columns named."""
    if options.kind != "parquet":
        return TableReader(path, options, reader)
    from .parquet import ParquetReader

    return ParquetReader(path, options)


def _stamp(path: Path) -> tuple[int, ...]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return tuple(fact for file in files for fact in (file.stat().st_size, file.stat().st_mtime_ns))
