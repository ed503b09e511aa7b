"""Dates and times in cells: ISO 8601 and common notations, as days since 1970-01-01.

Shapes: n cells.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from .cells import MISSING_WORDS, Kind

_FIRST = 16  # cells, one of which must be a date
_EPOCH = date(1970, 1, 1).toordinal()
_MONTHS = "janfebmaraprmayjunjulaugsepoctnovdec"
_NAMED = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_TIME = (
    r"(?:(?:T|\s+)(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d(?:[.,]\d+)?))?\s*(?P<half>[ap]m)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?)?"
)
_FIXED = (
    r"(?P<year>\d{4})-(?P<month>\d{1,2})(?:-(?P<day>\d{1,2}))?",
    r"(?P<year>\d{4})(?P<mark>[/.])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})",
    r"(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4})",
    rf"(?:(?P<day>\d{{1,2}})[\s-]+)?{_NAMED}[\s,-]+(?P<year>\d{{4}})",
    rf"{_NAMED}\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<year>\d{{4}})",
)
_ORDERED = {
    "dmy": r"(?P<day>\d{1,2})(?P<mark>[/-])(?P<month>\d{1,2})(?P=mark)(?P<year>\d{4})",
    "mdy": r"(?P<month>\d{1,2})(?P<mark>[/-])(?P<day>\d{1,2})(?P=mark)(?P<year>\d{4})",
}


def _compiled(*parts: str) -> list[re.Pattern[str]]:
    return [re.compile(part + _TIME, re.ASCII | re.IGNORECASE) for part in parts]


_FIXED_PATTERNS = _compiled(*_FIXED)
_ORDERED_PATTERNS = {order: _compiled(part) for order, part in _ORDERED.items()}


@dataclass(frozen=True)
class DateFormat:
    """The notation of dates in a column; it stands in for a ``CellFormat``.

    Attributes
    ----------
    order : str
        "dmy" or "mdy" for dates such as 03/04/2024; empty where there are none.
    missing : frozenset of str or None
        As in ``CellFormat``.

    Examples
    --------
    >>> DateFormat().days("1970-01-02 12:00"), DateFormat("dmy").days("3/1/1970"), DateFormat("mdy").days("3/1/1970")
    (1.5, 2.0, 59.0)
    """

    order: str = ""
    missing: frozenset[str] | None = None

    def days(self, cell: str) -> float | None:
        """Return the days since 1970-01-01 00:00, in UTC where the cell names a zone; None for other cells.

        A month without a day is its first day.
        """
        for pattern in (*_FIXED_PATTERNS, *_ORDERED_PATTERNS.get(self.order, ())):
            found = pattern.fullmatch(cell)
            if found is not None:
                return _days(found.groupdict())
        return None

    def floats(self, cells: Sequence[str]) -> None:
        """Return None: no cell is a plain number."""

    def interpret(self, cells: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the days of each cell (float64, NaN where there are none) and its ``Kind``: dates are NUMBER."""
        values, kinds = np.full(len(cells), math.nan), np.empty(len(cells), np.int8)
        for k, cell in enumerate(cells):
            days = self.days(cell)
            if days is not None:
                values[k], kinds[k] = days, Kind.NUMBER
            elif not cell:
                kinds[k] = Kind.EMPTY
            else:
                is_missing = cell.lower() in MISSING_WORDS if self.missing is None else cell in self.missing
                kinds[k] = Kind.MISSING if is_missing else Kind.TEXT
        return values, kinds


def find_format(cells: Sequence[str], missing: frozenset[str] | None, order: str = "") -> list[DateFormat]:
    """Return the formats in which all cells that are not missing are dates: two where the order is not clear.

    Parameters
    ----------
    cells : sequence of str
        Distinct ones.
    order : str
        The order that the user has given, if any.

    >>> [found.order for found in find_format(["01/02/2024", "01/13/2024"], None)]
    ['mdy']
    """
    dates = [DateFormat(one, missing) for one in ([order] if order else ["", *_ORDERED])]
    dates = [one for one in dates if any(one.days(cell) is not None for cell in cells[:_FIRST])]
    fitting: list[tuple[DateFormat, list[float]]] = []
    for one in dates:
        values, kinds = one.interpret(cells)
        numbers = kinds == Kind.NUMBER
        if numbers.any() and not (kinds == Kind.TEXT).any():
            if not one.order or order:
                return [one]
            fitting.append((one, values[numbers].tolist()))
    if len(fitting) == 2 and fitting[0][1] == fitting[1][1]:
        return [fitting[0][0]]
    return [one for one, _ in fitting]


def _days(part: dict[str, str | None]) -> float | None:
    month = part["month"] or ""
    try:
        number = int(month) if month.isdecimal() else _MONTHS.index(month[:3].lower()) // 3 + 1
        whole = date(int(part["year"] or 0), number, int(part.get("day") or 1)).toordinal() - _EPOCH
    except ValueError:
        return None
    if part["hour"] is None:
        return float(whole)
    hour, minute = int(part["hour"]), int(part["minute"] or 0)
    second = float((part["second"] or "0").replace(",", "."))
    half = (part["half"] or "").lower()
    if minute > 59 or second >= 61 or hour > (12 if half else 24) or (half and not hour):
        return None
    if half:
        hour = hour % 12 + 12 * (half == "pm")
    return whole + (hour * 3600 + minute * 60 + second - _offset(part["zone"])) / 86400


def _offset(zone: str | None) -> float:
    """Return the seconds by which the clocks of a zone are ahead of UTC."""
    if not zone or zone[0] not in "+-":
        return 0.0
    digits = zone[1:].replace(":", "")
    seconds = 3600.0 * int(digits[:2]) + 60.0 * int(digits[2:] or 0)
    return -seconds if zone[0] == "-" else seconds
