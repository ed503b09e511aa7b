"""Table reader: the header, then block by block, by pyarrow if installed or by the csv module."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Literal

import numpy as np

from ...device import CPU
from ...errors import UserError
from ..files import one_line, reading
from .blocks import Block, Blocks
from .cells import Kind, Role
from .columns import Column
from .dates import DateFormat
from .dialect import SEPARATORS, Header, read_header
from .fast import ArrowParser, Parsed, Plan, Reading, parse_ahead
from .lines import Lines
from .matrix import Matrix
from .options import CsvOptions
from .roles import choose_role
from .stream import TextStream
from .words import check_names

Reader = Literal["auto", "csv", "arrow"]
_MOST_THREADS = 8
_MOST_COLUMNS = 1000  # for pyarrow, which takes some microseconds for each column of a block


class TableReader:
    """Reader of selected columns of a table in one pass.

    Parameters
    ----------
    path : Path
    options : CsvOptions
    reader : "auto", "csv" or "arrow"
        The csv module, or pyarrow; auto takes pyarrow for large files if it is installed.
    opener : callable(path, encoding) -> TextStream, optional
        Opens the text; by default as it is, or a part of it.

    Attributes
    ----------
    header : Header
    encoding : str
    lines : Lines
    num_blank : int
        Rows of empty cells only, which are left out.
    make_matrix : callable(int) -> Matrix
        Makes ``matrix`` with its number of columns; another one may be set before ``read``.
    columns : dict of str to Column
        Columns that were read.
    matrix, rest : Matrix
        The values of the columns that ``read`` was given as ``dense``, and of the others.

    Raises
    ------
    UserError
        If the file cannot be read or has no header.
    """

    unit, typed = "line", False

    def __init__(
        self,
        path: Path,
        options: CsvOptions,
        reader: Reader = "auto",
        opener: Callable[[Path, str], TextStream] | None = None,
    ):
        self.path, self._options, self.kind, self._open = path, options, reader, opener
        self.lines, self.num_blank = Lines(), 0
        self.columns: dict[str, Column] = {}
        self.make_matrix: Callable[[int], Matrix] = Matrix
        self._places: list[tuple[int, Column]] = []
        with reading(self.path, "a table in text"), self._text() as stream:
            first = Blocks(stream).first
            self.encoding, self._size = stream.encoding, stream.size
            self._first_bytes = len(first.encode())
            self.header: Header = read_header(path, first, options.sep)

    @property
    def described(self) -> str:
        """The format in words."""
        mark = self.header.separator
        return f"separated by {SEPARATORS.get(mark, repr(mark))}, {self.encoding.upper()}"

    def read(
        self,
        dense: Sequence[str],
        others: Sequence[str] = (),
        keep: dict[str, int] | None = None,
        roles: Mapping[str, Role | DateFormat] | None = None,
    ) -> None:
        """Read all rows.

        Parameters
        ----------
        dense : sequence of str
            Columns whose values ``matrix`` is to hold, in this order.
        others : sequence of str
            Columns to read besides.
        keep : dict of str to int
            Columns whose texts to keep, and up to how many distinct numbers (see ``Column``).
        roles : dict of str to Role or DateFormat
            The roles of columns of ``dense`` that may be others than numbers.

        Raises
        ------
        UserError
            If a row has too many or too few cells, or the text is damaged. What was read before it stays.
        """
        places = {name: k for k, name in enumerate(self.header.names)}
        self.columns = {n: self._column(n, (keep or {}).get(n, 0), (roles or {}).get(n)) for n in [*dense, *others]}
        unnamed = [(k, Column("", self._options.format, 0)) for k in self.header.unnamed]
        self._places = [(places[name], column) for name, column in self.columns.items()] + unnamed
        self.matrix, self.rest = self.make_matrix(len(dense)), Matrix(len(self._places) - len(dense))
        with reading(self.path, "a table in text"), self._text() as stream:
            blocks = Blocks(stream)
            for block, parsed in self._parse(blocks):
                fresh = not self.lines
                if parsed is None:
                    self._take_rows(*block.rows(self.header.separator))
                else:
                    self._take_parsed(parsed, block)
                blocks.release(block)
                if fresh:
                    self._look_at_first()
        for k, column in unnamed:
            if column.tally.count(Kind.EMPTY) < len(self.lines):
                raise UserError(f"{self.path}: column {k + 1} has no name in the header")

    def cells(self, names: Sequence[str]) -> Iterator[tuple[list[list[str]], list[int]]]:
        """Yield the cells of some columns as text, block by block: rows, and the lines on which they end.

        Raises
        ------
        UserError
            If there is no such column, a row has too many or too few cells, or the text is damaged.
        """
        check_names(self.path, names, dict.fromkeys(filter(None, self.header.names)))
        places = [self.header.names.index(name) for name in names]
        with reading(self.path, "a table in text"), self._text() as stream:
            blocks = Blocks(stream)
            for block in blocks.after(self.header.num_lines, self.header.separator):
                rows, lines = block.rows(self.header.separator)
                ragged = self._mend(rows, lines)
                if ragged is not None:
                    raise UserError(ragged[1])
                blank = _blank_rows(rows)
                self.num_blank += len(blank)
                kept = [k for k in range(len(rows)) if k not in blank]
                yield [[rows[k][place] for place in places] for k in kept], [lines[k] for k in kept]
                blocks.release(block)

    def _text(self) -> TextStream:
        if self._open is not None:
            return self._open(self.path, self._options.encoding)
        return TextStream(self.path, self._options.encoding, self._options.part)

    def _parse(self, source: Blocks) -> Iterator[tuple[Block, Parsed | None]]:
        blocks = source.after(self.header.num_lines, self.header.separator)
        first = next(blocks, None)
        if first is None:
            return
        yield first, None  # by the csv module always: it shows what the columns are
        parser = self._make_parser() if self._size != self._first_bytes or self.kind == "arrow" else None
        yield from parse_ahead(blocks, parser, self._plan, min(CPU.threads, _MOST_THREADS))

    def _make_parser(self) -> ArrowParser | None:
        """Return the fast parser, None where it is not installed or the notation of numbers is not its own."""
        if self.kind == "csv" or not self._options.format.plain or len(self._places) > _MOST_COLUMNS:
            return None
        try:
            names, cell_format = self.header.names, self._options.format
            return ArrowParser(len(names), self.header.separator, cell_format.decimal, cell_format.gaps)
        except ImportError as error:
            if self.kind == "arrow":
                raise UserError(f"pyarrow cannot be imported ({one_line(error)})") from None
            return None

    def _plan(self) -> Plan:
        found: Plan = {}
        for k, column in self._places:
            if not column.ignored:
                numeric = column.texts is None and column.all_plain
                found[k] = (Reading.GAPS if column.gaps else Reading.NUMBERS) if numeric else Reading.TEXT
        return found

    def _column(self, name: str, keep: int, role: Role | DateFormat | None) -> Column:
        if isinstance(role, DateFormat):
            return Column(name, role, keep, Role.DATE)
        return Column(name, self._options.format, keep, role or Role.NUMBER, gaps=role is not None)

    def _look_at_first(self) -> None:
        """Decide roles, find unneeded text columns, and estimate the number of rows, from the first block."""
        for place, column in enumerate(self.columns.values()):
            if column.role in (Role.AUTO, Role.CATEGORY):
                values = column.settle(*choose_role(column, self._options, self.path))
                if values is not None:
                    self.matrix.replace(place, values)
        for _, column in self._places:
            column.ignored = column.texts is None and column.role != Role.DATE and column.tally.is_text
        num_rows = int(len(self.lines) * self._size / max(1, self._first_bytes) * 1.02) + 1
        self.matrix.reserve(num_rows)
        self.rest.reserve(num_rows)

    def _take_rows(self, rows: list[list[str]], lines: Sequence[int]) -> None:
        ragged = self._mend(rows, lines)
        if ragged is not None:
            rows, lines = rows[: ragged[0]], lines[: ragged[0]]
        blank = _blank_rows(rows)
        if blank:
            self.num_blank += len(blank)
            rows = [row for k, row in enumerate(rows) if k not in blank]
            lines = [line for k, line in enumerate(lines) if k not in blank]
        self._append(self._interpret(rows), lines)
        if ragged is not None:
            raise UserError(ragged[1])

    def _interpret(self, rows: list[list[str]]) -> list[np.ndarray | None]:
        """Return the values of each column, None for columns that are skipped."""
        plain = self._plain_values(rows)
        cells = list(zip(*rows)) if len(plain) < len(self._places) else []
        start = len(self.lines)
        values: list[np.ndarray | None] = []
        for k, column in self._places:
            if k in plain:
                values.append(column.add_numbers(plain[k]))
            else:
                values.append(None if column.ignored else column.add(cells[k] if rows else (), start))
        return values

    def _plain_values(self, rows: list[list[str]]) -> dict[int, np.ndarray]:
        """Return the values of the columns that held plain numbers so far, empty if one of them no longer does.

        Row by row, which takes half the time of column by column.
        """
        places = sorted(k for k, kind in self._plan().items() if kind != Reading.TEXT)
        if not rows or not places:
            return {}
        chosen: Iterable[Sequence[str]] = rows
        if len(places) == 1:
            chosen = ((row[places[0]],) for row in rows)
        elif len(places) < len(self.header.names):
            chosen = map(itemgetter(*places), rows)
        values = self._options.format.floats(list(chain.from_iterable(chosen)))
        return {} if values is None else dict(zip(places, values.reshape(len(rows), -1).T))

    def _take_parsed(self, parsed: Parsed, block: Block) -> None:
        start = len(self.lines)
        values: list[np.ndarray | None] = []
        for k, column in self._places:
            found = None if column.ignored else parsed[k]
            if isinstance(found, tuple):
                found = column.add_coded(*found, start)
            elif found is not None:
                found = column.add_values(found, start)
            values.append(found)
        self._append(values, range(block.first_line, block.first_line + block.num_lines))

    def _append(self, values: list[np.ndarray | None], lines: Sequence[int]) -> None:
        num_rows = len(lines)
        full = [np.full(num_rows, np.nan) if column is None else column for column in values]
        num_dense = self.matrix.num_columns
        self.matrix.extend(full[:num_dense], num_rows)
        self.rest.extend(full[num_dense:], num_rows)
        self.lines.extend(lines)

    def _mend(self, rows: list[list[str]], lines: Sequence[int]) -> tuple[int, str] | None:
        """Repair rows that differ from the header by an empty last cell; return the first other one and its error."""
        width = len(self.header.names)
        if set(map(len, rows)) <= {width}:
            return None
        for k, row in enumerate(rows):
            if len(row) == width + 1 and not row[-1].strip():
                row.pop()
            elif len(row) == width - 1 and not self.header.names[-1]:
                row.append("")
            elif len(row) != width:
                return k, f"{self.path}: line {lines[k]} has {len(row)} cells, but the header {width}"
        return None


def _blank_rows(rows: list[list[str]]) -> set[int]:
    """Return the positions of rows of empty cells only; in a one-column table these are missing values."""
    return {
        k
        for k, row in enumerate(rows)
        if (not row[0] or row[0].isspace()) and len(row) > 1 and not "".join(row).strip()
    }
