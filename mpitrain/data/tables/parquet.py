"""Parquet files as tables: columns that are numbers, dates or text by their types, read batch by batch.

Shapes: n rows of a batch.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...device import CPU
from ...errors import UserError
from ..files import one_line, reading
from .cells import Role
from .columns import Column, merge_stripped
from .dates import DateFormat
from .dialect import Header
from .lines import Lines
from .matrix import Matrix
from .options import CsvOptions
from .reader import Reader
from .roles import role_of_text
from .words import check_names

BATCH = 1 << 16  # rows
_INDEX = re.compile(r"__index_level_\d+__")  # of pandas
_WANTED = "a Parquet file"


class ParquetHeader(Header):
    """The columns of Parquet files."""

    @property
    def index(self) -> tuple[int, ...]:
        """Positions of the columns that hold the index of a data frame."""
        return tuple(k for k, name in enumerate(self.names) if _INDEX.fullmatch(name))


class ParquetReader:
    """Reader of selected columns of Parquet files in one pass, with the attributes of a ``TableReader``.

    Parameters
    ----------
    path : Path
        A file, or a directory whose files ``*.parquet`` hold the rows in the order of their names.
    options : CsvOptions

    Raises
    ------
    UserError
        If pyarrow is not installed, there is no file, one is damaged, or the files have different columns.
    """

    kind: Reader = "auto"
    unit, typed, num_blank = "row", True, 0

    def __init__(self, path: Path, options: CsvOptions):
        self._arrow, self._parquet = import_pyarrow()
        self.path, self._options = path, options
        self.lines, self.columns = Lines(), dict[str, Column]()
        self._files = parquet_files(path)
        self.make_matrix: Callable[[int], Matrix] = Matrix
        self._schema = self._common_schema()
        names = tuple(self._schema.names)
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"{path} names {twice!r} twice")
        self.header: Header = ParquetHeader("", names, 0)

    @property
    def described(self) -> str:
        """The format in words."""
        count = len(self._files)
        return "Parquet" if count == 1 else f"{count:,} Parquet files"

    @property
    def num_rows(self) -> int:
        """The rows of all files, as they say."""
        total = 0
        for file in self._files:
            with self._open(file) as opened:
                total += opened.metadata.num_rows
        return total

    def read(
        self,
        dense: Sequence[str],
        others: Sequence[str] = (),
        keep: dict[str, int] | None = None,
        roles: Mapping[str, Role | DateFormat] | None = None,
    ) -> None:
        """Read all rows; as ``TableReader.read``, where types of columns take the place of a look at their cells.

        Raises
        ------
        UserError
            If a column is neither numbers nor dates nor text, or a file is damaged.
        """
        names = [*dense, *others]
        self.columns = {n: self._column(n, (keep or {}).get(n, 0), (roles or {}).get(n, Role.NUMBER)) for n in names}
        self.matrix, self.rest = self.make_matrix(len(dense)), Matrix(len(others))
        self.matrix.reserve(self.num_rows)
        for batch in self._batches(names):
            first, start = not self.lines, len(self.lines)
            values = [self._add(column, batch.column(k), start) for k, column in enumerate(self.columns.values())]
            self.matrix.extend(values[: len(dense)], batch.num_rows)
            self.rest.extend(values[len(dense) :], batch.num_rows)
            self.lines.extend(range(start + 1, start + batch.num_rows + 1))
            if first and batch.num_rows:
                self._settle()

    def cells(self, names: Sequence[str]) -> Iterator[tuple[list[list[str]], list[int]]]:
        """Yield the values of some columns as text, batch by batch: rows, and their numbers."""
        check_names(self.path, names, dict.fromkeys(self.header.names))
        row = 0
        for batch in self._batches(names):
            columns = [[_text(value) for value in column.to_pylist()] for column in batch.columns]
            yield [list(cells) for cells in zip(*columns)], list(range(row + 1, row + batch.num_rows + 1))
            row += batch.num_rows

    def _column(self, name: str, keep: int, role: Role | DateFormat) -> Column:
        """Return a column whose role is that of its type, where a role may be chosen."""
        kind = self._kind(name)
        if role == Role.AUTO and kind != "text":
            role = Role.NUMBER if kind == "number" else DateFormat()
        if isinstance(role, DateFormat):
            return Column(name, role, keep, Role.DATE)
        return Column(name, self._options.format, keep, role)

    def _settle(self) -> None:
        """Decide between dates and categories for columns of text, by the first batch."""
        for place, column in enumerate(self.columns.values()):
            if column.role == Role.CATEGORY:
                values = column.settle(Role.CATEGORY)
            elif column.role == Role.AUTO:
                role, dates = role_of_text(column, self._options, self.path)
                values = column.settle(role if role == Role.DATE else Role.CATEGORY, dates)
            else:
                continue
            if values is not None:
                self.matrix.replace(place, values)

    def _add(self, column: Column, array: Any, row: int) -> np.ndarray:
        kind = self._kind(column.name)
        if column.texts is None and kind == "number" and column.role == Role.NUMBER:
            return column.add_values(self._floats(array), row)
        if column.texts is None and kind == "date" and column.role == Role.DATE:
            return column.add_values(self._days(array), row)
        encoded = array if self._arrow.types.is_dictionary(array.type) else array.dictionary_encode()
        cells = [_text(value) for value in encoded.dictionary.to_pylist()]
        codes = _view(encoded.indices.cast(self._arrow.int32()).fill_null(len(cells)), np.int32)
        return column.add_coded(*merge_stripped([*cells, ""], codes), row)

    def _floats(self, array: Any) -> np.ndarray:
        """Return (n,) float64 of numbers or truth values, NaN for null."""
        arrow = self._arrow
        if arrow.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if arrow.types.is_boolean(array.type):
            array = array.cast(arrow.int8())
        elif arrow.types.is_duration(array.type):
            array = array.cast(arrow.int64())
        return _view(array.cast(arrow.float64(), safe=False).fill_null(np.nan), np.float64)

    def _days(self, array: Any) -> np.ndarray:
        """Return (n,) float64: the days since 1970-01-01 of dates and times, NaN for null."""
        arrow = self._arrow
        unit = "s" if arrow.types.is_date(array.type) else array.type.unit
        ticks = array.cast(arrow.timestamp(unit)).cast(arrow.int64())
        days = _view(ticks.fill_null(0), np.int64) / (86400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit])
        if array.null_count:
            days[_view(array.is_null().cast(arrow.int8()), np.int8) == 1] = np.nan
        return days

    def _kind(self, name: str) -> str:
        """Return number, date or text, by the type of a column."""
        types, found = self._arrow.types, self._schema.field(name).type
        if types.is_dictionary(found):
            found = found.value_type
        if types.is_timestamp(found) or types.is_date(found):
            return "date"
        if types.is_string(found) or types.is_large_string(found) or types.is_string_view(found):
            return "text"
        numbers = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_duration)
        if any(is_one(found) for is_one in numbers) or types.is_null(found):
            return "number"
        raise UserError(
            f"{self.path}: column {name!r} holds {found}, expected numbers, text or dates: leave it out (drop={name})"
        )

    def _batches(self, names: Sequence[str]) -> Iterator[Any]:
        for file in self._files:
            with self._open(file) as opened:
                batches = opened.iter_batches(BATCH, columns=list(names), use_threads=CPU.threads > 1)
                while (batch := self._next(batches, file)) is not None:
                    yield batch.select(list(names))

    def _next(self, batches: Iterator[Any], file: Path) -> Any:
        with reading(file, _WANTED):
            try:
                return next(batches, None)
            except self._arrow.ArrowException as error:
                raise ValueError(one_line(error)) from None

    def _open(self, file: Path) -> Any:
        with reading(file, _WANTED):
            try:
                return self._parquet.ParquetFile(file, memory_map=True)
            except self._arrow.ArrowException as error:
                raise ValueError(one_line(error)) from None

    def _common_schema(self) -> Any:
        """Return the names and types of the columns, which must be those of all files."""
        common: Any = None
        for file in self._files:
            with self._open(file) as opened:
                schema = opened.schema_arrow.remove_metadata()
            common = schema if common is None else common
            if schema.names != common.names or schema.types != common.types:
                pairs = zip(schema, common)
                odd = next((str(one) for one, other in pairs if one != other), f"{len(schema.names)} columns")
                raise UserError(f"{file} has other columns than {self._files[0].name}: {odd}")
        return common


def import_pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and its module for Parquet; raises UserError where it is not installed."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(
            f"Parquet files are read by pyarrow ({one_line(error)}): pip install 'mpitrain[tables]'"
        ) from None
    return pyarrow, parquet


def parquet_files(path: Path) -> list[Path]:
    """Return a file, or the files ``*.parquet`` in a directory and below, sorted.

    Raises
    ------
    UserError
        If there are none.
    """
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*.parquet") if not file.name.startswith((".", "_")))
    if not found:
        raise UserError(f"parquet:{path}: there are no files *.parquet in this directory")
    return found


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _view(array: Any, dtype: type) -> np.ndarray:
    """Return a NumPy array of a pyarrow array without nulls (its own ``to_numpy`` imports pandas)."""
    if not len(array):
        return np.empty(0, dtype)
    return np.array(np.frombuffer(array.buffers()[1], dtype)[array.offset : array.offset + len(array)])
