"""Names of classes and categories: the exact texts of cells, or integers however they are written."""

import re
from collections.abc import Sequence
from decimal import Decimal

from .cells import CellFormat

LONGEST_INTEGER = 400  # digits; what is longer is no integer that float64 could hold

_LEADING_ZEROS = re.compile(r"[+-]?0\d+", re.ASCII)


def class_labels(cells: Sequence[str], cell_format: CellFormat) -> list[str]:
    """Return the class name of each cell: its exact text.

    If all cells are integers, 3.0 and +3 are 3, as data frames write integers among missing values; but 03 is not, and
    no digit is lost.

    Examples
    --------
    >>> class_labels(["1.0", "12345678901234567890", "007"], CellFormat())
    ['1', '12345678901234567890', '007']
    """
    labels = [_integer(cell_format.numeral(cell)) for cell in cells]
    return list(cells) if None in labels else [label for label in labels if label is not None]


def _integer(numeral: str | None) -> str | None:
    """Return a whole number as the text of an integer, None for other numbers."""
    if numeral is None:
        return None
    whole = numeral.rstrip("0").removesuffix(".") if "." in numeral and "e" not in numeral.lower() else numeral
    if _LEADING_ZEROS.fullmatch(whole):
        return whole
    value = Decimal(numeral)
    if value.adjusted() > LONGEST_INTEGER or value != value.to_integral_value():
        return None
    return str(int(value))
