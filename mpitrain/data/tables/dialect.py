"""The separator and the header of a table."""

import csv
import io
import itertools
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError
from .cells import CellFormat

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
_CANDIDATES = ",;\t|"
_ROWS = 20  # looked at to choose a separator
_SEP_LINE = re.compile(r'"?sep=(.)"?,*\r?\n?', re.IGNORECASE)  # of Excel
_INDEX = re.compile(r"Unnamed: 0(\.\d+)*")  # of pandas, which names the index like this when it reads it back


@dataclass(frozen=True)
class Header:
    """The first row of a table.

    Attributes
    ----------
    separator : str
    names : tuple of str
        One per column, stripped; empty where a column has no name.
    num_lines : int
        Lines up to the first row.
    """

    separator: str
    names: tuple[str, ...]
    num_lines: int

    @property
    def index(self) -> tuple[int, ...]:
        """Positions of the columns in front that hold the index of a data frame, not data."""
        count = 0
        while count < len(self.names) - 1 and (
            _INDEX.fullmatch(self.names[count]) or (count == 0 and not self.names[0])
        ):
            count += 1
        return tuple(range(count))

    @property
    def unnamed(self) -> tuple[int, ...]:
        """Positions of other columns without a name."""
        return tuple(k for k, name in enumerate(self.names) if not name and k not in self.index)


def read_header(path: Path, text: str, separator: str = "") -> Header:
    """Return the header of a table that begins with ``text``, whole lines.

    Parameters
    ----------
    separator : str
        Empty for that of the line ``sep=``, or one that splits the first rows equally.

    Raises
    ------
    UserError
        If there is no header, it holds numbers only, or names a column twice.
    """
    sep_line = _SEP_LINE.match(text)
    skipped = 1 if sep_line else 0
    if sep_line:
        separator = separator or sep_line[1]
        text = text[sep_line.end() :].removeprefix("\n")
    skipped += _blank_lines(text)
    separator = separator or _choose(text)
    names, second, num_lines = _first_rows(text, separator)
    if len(second) == len(names) + 1 and not second[-1].strip():  # a separator behind the last cell of each row
        names.append("")
    header = Header(separator, tuple(names), num_lines + skipped - _blank_lines(text))
    _check(path, header, len(second))
    return header


def _blank_lines(text: str) -> int:
    return next((k for k, line in enumerate(io.StringIO(text, newline="")) if line.strip("\r\n")), 0)


def _first_rows(text: str, separator: str) -> tuple[list[str], list[str], int]:
    """Return the cells of the header and of the first row, and the line on which the header ends."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    names = next((row for row in reader if row), [])
    num_lines = reader.line_num
    return [name.strip() for name in names], next((row for row in reader if row), []), num_lines


def _choose(text: str) -> str:
    """Return the separator that splits the first rows like the header; of equal ones, that with more numbers."""
    return max(_CANDIDATES, key=lambda separator: _fitness(_first(text, separator, _ROWS)))


def _first(text: str, separator: str, count: int) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    return list(itertools.islice((row for row in reader if any(row)), count))


def _fitness(rows: list[list[str]]) -> tuple[float, int, int]:
    """Return the share of rows of the header's length, the count of numbers in some cells, and of columns."""
    width = len(rows[0]) if rows else 0
    if width < 2:
        return 0.0, 0, 0
    alike = sum(len(row) == width for row in rows[1:]) / max(1, len(rows) - 1)
    cells = [cell for row in rows[1:5] for cell in row[:50]]
    plain = CellFormat()
    numbers = sum(plain.number(cell) is not None or bool(plain.other_notations(cell)) for cell in cells)
    return alike, numbers, width


def _check(path: Path, header: Header, width: int) -> None:
    names = header.names
    if not any(names):
        raise UserError(f"{path} is empty, expected a header with the names of the columns")
    numbers = [name for name in names if CellFormat().number(name) is not None]
    counted = [str(k) for k in range(len(names) - 1)]  # of a data frame without names, behind the index
    if len(numbers) == sum(map(bool, names)) and numbers != counted:
        raise UserError(f"{path} has no header: expected the names of the columns on line 1 and found numbers")
    repeated = next((name for name, count in Counter(names).items() if name and count > 1), None)
    if repeated is not None:
        raise UserError(f"{path}: the header names {repeated!r} twice")
    if width == len(names) + 1:
        raise UserError(
            f"{path}: the first row has {width} cells, but the header {len(names)}: if the first column holds names of "
            "rows (write.table of R), give it a name in the header"
        )
