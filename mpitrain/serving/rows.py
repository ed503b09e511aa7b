"""Rows of tables in requests: lists in the order of the model's columns, or objects by their names.

Shapes: n rows, F columns.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.categories import Category, only_codes
from ..data.matching.conform import say_columns
from ..data.matching.signature import Signature
from ..errors import UserError
from ..suggest import did_you_mean


def read_rows(inputs: list[Any], signature: Signature) -> np.ndarray:
    """Return rows as (n, F) samples of the model: float64 or float32, or int64 codes.

    Raises
    ------
    UserError
        If a column is lacking or unknown, or a value is no number where the model takes one.
    """
    names, (width,) = signature.feature_names, signature.input_shape
    rows = [_values(number, row, names, width) for number, row in enumerate(inputs)]
    categories = signature.categories or (None,) * width
    if not signature.categories:
        x = _numbers(rows, names)
    else:
        x = np.stack([_column(rows, k, one, names) for k, one in enumerate(categories)], axis=1)
    if only_codes(signature.categories):
        return x.astype(np.int64)
    return np.ascontiguousarray(x, np.float32 if signature.dtype == "float32" else np.float64)


def _values(number: int, row: Any, names: Sequence[str], width: int) -> list[Any]:
    if isinstance(row, dict):
        if not names:
            raise UserError(
                f"input {number} has names, and the model's columns have none: send a list of {width} numbers"
            )
        lacking = [name for name in names if name not in row]
        if lacking:
            raise UserError(f"input {number} lacks {say_columns(lacking)}{did_you_mean(lacking[0], list(row))}")
        return [row[name] for name in names]
    if not isinstance(row, list) or len(row) != width:
        how = f" or an object with {say_columns(names)}" if names else ""
        raise UserError(f"input {number} must be a list of {width} values{how}")
    return row


def _numbers(rows: list[list[Any]], names: Sequence[str]) -> np.ndarray:
    try:
        x = np.array(rows, np.float64)
        if x.ndim == 2 and np.isfinite(x).all():
            return x
    except (ValueError, TypeError, OverflowError):
        pass
    return np.stack([_column(rows, k, None, names) for k in range(len(rows[0]))], axis=1)


def _column(rows: list[list[Any]], k: int, category: Category | None, names: Sequence[str]) -> np.ndarray:
    """Return the values of column ``k``: numbers, or codes of a category."""
    if category is not None:
        return _codes([row[k] for row in rows], category).astype(np.float64)
    column = np.empty(len(rows))
    for number, row in enumerate(rows):
        try:
            column[number] = float(row[k])
        except (ValueError, TypeError, OverflowError):
            column[number] = np.nan
        if not np.isfinite(column[number]):
            name = repr(names[k]) if names else str(k)
            raise UserError(f"input {number} has {_shown(row[k])} in column {name}, where the model takes a number")
    return column


def _codes(values: list[Any], category: Category) -> np.ndarray:
    """Return the codes of values; null and values that the training data did not have are unknown."""
    if category.values is None or category.values.dtype.kind == "i":
        missing = np.iinfo(np.int64).min if category.values is not None else 0
        return category.encode(np.array([_whole(value, missing) for value in values], np.int64))
    return category.encode(np.array(["" if value is None else str(value) for value in values], np.str_))


def _whole(value: Any, missing: int) -> int:
    try:
        return int(value)
    except (ValueError, TypeError, OverflowError):
        return missing


def _shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 40 else text[:40] + "..."
