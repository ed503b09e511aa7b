"""Rows of tables in requests: lists in the order of the model's columns, or objects by their names.

Shapes: n rows, C columns of the table, F columns of the samples.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..data.categories import Category, only_codes
from ..data.matching.conform import say_columns
from ..data.matching.signature import Signature
from ..data.sources import parse_source
from ..data.tables import parse_csv_source
from ..data.tables.cells import CellFormat, Role
from ..data.tables.dates import DateFormat
from ..data.tables.encoding import Encoding, Rule
from ..data.tables.rows import columns_of
from ..errors import UserError
from ..suggest import did_you_mean

NUMBER, DATE = "a number", "a date"


class RowReader:
    """Reader of rows, encoded as those of the model's table are.

    Parameters
    ----------
    signature : Signature
    """

    def __init__(self, signature: Signature):
        self._then = signature
        self._names = columns_of(signature)
        self._width = len(self._names) or signature.input_shape[0]
        self._format = _cell_format(signature)

    def read(self, inputs: list[Any]) -> np.ndarray:
        """Return rows as (n, F) samples of the model: float64 or float32, or int64 codes.

        Raises
        ------
        UserError
            If a column is lacking, or a value is no number where the model takes one.
        """
        rows = [self._values(number, row) for number, row in enumerate(inputs)]
        x = self._encoded(rows, self._then.encoding) if self._then.encoding is not None else self._plain(rows)
        if only_codes(self._then.categories):
            return x.astype(np.int64)
        with np.errstate(over="ignore"):
            x = np.ascontiguousarray(x, np.float32 if self._then.dtype == "float32" else np.float64)
        if not np.isfinite(x).all():
            raise UserError("a value is too large for the model's float32")
        return x

    def _values(self, number: int, row: Any) -> list[Any]:
        names = self._names
        if isinstance(row, dict):
            if not names:
                raise UserError(f"input {number} has names, and the model's columns have none: send a list")
            lacking = [name for name in names if name not in row]
            if lacking:
                raise UserError(f"input {number} lacks {say_columns(lacking)}{did_you_mean(lacking[0], list(row))}")
            return [row[name] for name in names]
        if not isinstance(row, list) or len(row) != self._width:
            how = f" or an object with {say_columns(names)}" if names else ""
            raise UserError(f"input {number} must be a list of {self._width} values{how}")
        return row

    def _plain(self, rows: list[list[Any]]) -> np.ndarray:
        """Return the rows of a table without an encoding."""
        if not self._then.categories:
            return self._numbers(rows)
        columns = [
            self._column(rows, k, _number, NUMBER) if one is None else codes([row[k] for row in rows], one)
            for k, one in enumerate(self._then.categories)
        ]
        return np.stack(columns, axis=1)

    def _encoded(self, rows: list[list[Any]], encoding: Encoding) -> np.ndarray:
        if encoding.is_plain:
            return self._numbers(rows)
        raw, found = np.empty((len(rows), len(encoding.rules))), dict[int, np.ndarray]()
        for k, rule in enumerate(encoding.rules):
            if rule.role == Role.CATEGORY:
                raw[:, k] = range(len(rows))
                found[k] = rule.codes_of([_cell(row[k]) for row in rows], self._format)
            elif rule.role == Role.DATE:
                raw[:, k] = self._column(rows, k, self._date_reader(rule), DATE, may_miss=rule.indicator)
            else:
                raw[:, k] = self._column(rows, k, _number, NUMBER, may_miss=rule.indicator)
        return encoding.encode(raw, found)

    def _numbers(self, rows: list[list[Any]]) -> np.ndarray:
        try:
            x = np.array(rows)
            if x.dtype.kind in "if" and x.ndim == 2 and np.isfinite(x).all():
                return x
        except ValueError:
            pass
        return np.stack([self._column(rows, k, _number, NUMBER) for k in range(self._width)], axis=1)

    def _column(
        self, rows: list[list[Any]], k: int, read: Callable[[Any], float | None], kind: str, *, may_miss: bool = False
    ) -> np.ndarray:
        """Return the numbers in column ``k``, NaN where one is missing and may be."""
        column = np.empty(len(rows))
        for number, row in enumerate(rows):
            value = row[k]
            found = np.nan if value is None and may_miss else read(value)
            if found is None or (not np.isfinite(found) and value is not None):
                raise UserError(self._refusal(number, k, value, kind, may_miss))
            column[number] = found
        return column

    def _refusal(self, number: int, k: int, value: Any, kind: str, may_miss: bool) -> str:
        name = repr(self._names[k]) if self._names else str(k)
        nothing = " or null" if may_miss else ""
        return f"input {number} has {_shown(value)} in column {name}, where the model takes {kind}{nothing}"

    def _date_reader(self, rule: Rule) -> Callable[[Any], float | None]:
        dates = rule.role_in(self._format)
        assert isinstance(dates, DateFormat)
        return lambda value: dates.days(value.strip()) if isinstance(value, str) else None


def codes(values: list[Any], category: Category) -> np.ndarray:
    """Return the codes of values; null and values that the training data did not have are unknown.

    Raises
    ------
    UserError
        If the column holds codes, and a value is none.
    """
    if category.values is None or category.values.dtype.kind == "i":
        missing = np.iinfo(np.int64).min if category.values is not None else 0
        return category.encode(np.array([_whole(value, missing) for value in values], np.int64))
    return category.encode(np.array([_cell(value) for value in values], np.str_))


def _cell_format(signature: Signature) -> CellFormat:
    """Return the notation of the table that the model was trained on."""
    kind, place = parse_source(signature.source) if signature.source else ("", "")
    return parse_csv_source(place)[1].format if kind == "csv" else CellFormat()


def _cell(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _number(value: Any) -> float | None:
    """Return a number, also one in quotes; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _whole(value: Any, missing: int) -> int:
    try:
        return int(value)
    except (ValueError, TypeError, OverflowError):
        return missing


def _shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 40 else text[:40] + "..."
