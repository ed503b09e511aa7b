"""Interpretation of a cell: a number, a boolean, a missing value, or text.

The grammar of numbers is stricter than that of ``float``, which also takes ``2020_01``, ``infinity`` and the digits of
every script: an id would become a number without a word.
"""

import functools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np

MISSING_WORDS = frozenset(
    {"na", "n/a", "nan", "-nan", "<na>", "nat", "null", "nil", "none", "?", "-", "--", "."}
    | {"#n/a", "#n/a n/a", "#na", "#null!", "#div/0!", "#value!", "#ref!", "#name?", "#num!"}  # of spreadsheets
    | {"1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"}  # of printf in old C libraries on Windows
)
"""Cells that stand for a missing value in a column of numbers, in lower case."""

_WRITTEN = frozenset({*MISSING_WORDS, *map(str.upper, MISSING_WORDS), "NaN", "None", "Null"})
_INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.ASCII | re.IGNORECASE)
_DIGIT = re.compile(r"\d", re.ASCII)
_BOOLEANS = {"true": 1.0, "false": 0.0}
_PLAIN = b"0123456789+-eE \t"
_SIGNS = "$€£¥₹₩%‰"
_SPACES = " \u00a0\u202f"


class Kind(IntEnum):
    """The kind of a cell."""

    NUMBER = 0
    BOOLEAN = 1
    MISSING = 2
    """A word such as NA: missing in a column of numbers, a value in a column of text."""
    EMPTY = 3
    INFINITE = 4
    TEXT = 5


class Role(StrEnum):
    """The use of a column of samples."""

    AUTO = "auto"
    """Not known yet: the first block decides."""
    NUMBER = "number"
    CATEGORY = "category"
    DATE = "date"


@dataclass(frozen=True)
class CellFormat:
    """The notation of numbers and of missing values in a file.

    Attributes
    ----------
    decimal : str
        "." or ",".
    thousands : str
        The characters any of which may separate groups of three digits; empty for none.
    strip : str
        Characters to remove at both ends of a number, such as ``$%``.
    missing : frozenset of str or None
        The exact texts of missing values in every column; None takes ``MISSING_WORDS`` in any case, in columns of
        numbers only. An empty cell is always missing.

    Examples
    --------
    >>> CellFormat(decimal=",", thousands=".", strip="€").number("€ 1.234,5")
    1234.5
    """

    decimal: str = "."
    thousands: str = ""
    strip: str = ""
    missing: frozenset[str] | None = None

    @functools.cached_property
    def _pattern(self) -> re.Pattern[str]:
        point, mark = re.escape(self.decimal), f"[{re.escape(self.thousands)}]"
        whole = rf"(?:\d{{1,3}}(?:{mark}\d{{3}})+|\d+)" if self.thousands else r"\d+"
        return re.compile(rf"[+-]?(?:{whole}(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?", re.ASCII)

    @functools.cached_property
    def plain(self) -> bool:
        """True if numbers are as in ``float`` (with a decimal comma at most), and none marks a missing value."""
        return not (self.strip or self.thousands or any(self.number(word) is not None for word in self.missing or ()))

    @functools.cached_property
    def gaps(self) -> frozenset[str]:
        """Cells that are missing values in a column of numbers, as they are written most of the time."""
        words = _WRITTEN if self.missing is None else self.missing
        return words | {""}

    def floats_with_gaps(self, cells: Sequence[str]) -> np.ndarray | None:
        """Return (N,) float64 if all cells are plain, finite numbers or ``gaps``, which are NaN; otherwise None."""
        there = np.fromiter((cell not in self.gaps for cell in cells), bool, len(cells))
        found = self.floats([cell for cell in cells if cell not in self.gaps])
        if found is None:
            return None
        values = np.full(len(cells), math.nan)
        values[there] = found
        return values

    def numeral(self, cell: str) -> str | None:
        """Return the number in a cell in Python's notation, None for other cells."""
        text = self._without_signs(cell.strip()) if self.strip else cell.strip()
        if not self._pattern.fullmatch(text):
            return None
        for mark in self.thousands:
            text = text.replace(mark, "")
        return text.replace(self.decimal, ".")

    def number(self, cell: str) -> float | None:
        """Return the number in a cell, None for other cells; numbers beyond float64 are infinite."""
        numeral = self.numeral(cell)
        return None if numeral is None else float(numeral)

    def interpret(self, cells: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the value of each cell (float64, NaN where there is none) and its ``Kind`` (int8)."""
        plain = self.floats(cells)
        if plain is not None:
            return plain, np.full(len(plain), Kind.NUMBER, np.int8)
        pairs = [self._interpret(cell.strip()) for cell in cells]
        values = np.array([value for value, _ in pairs], np.float64)
        return values, np.array([kind for _, kind in pairs], np.int8)

    def floats(self, cells: Sequence[str]) -> np.ndarray | None:
        """Return (N,) float64 if all cells are plain, finite numbers, otherwise None: a quick ``interpret``."""
        if not self.plain:
            return None
        joined = "".join(cells)
        if joined.encode().translate(None, _PLAIN + self.decimal.encode()):
            return None
        if self.decimal != ".":
            cells = "\n".join(cells).replace(self.decimal, ".").split("\n")
        try:
            values = np.fromiter(map(float, cells), np.float64, len(cells))
        except ValueError:
            return None
        return values if np.isfinite(values).all() else None

    def _interpret(self, cell: str) -> tuple[float, Kind]:
        if not cell:
            return math.nan, Kind.EMPTY
        if cell.lower() in MISSING_WORDS if self.missing is None else cell in self.missing:
            return math.nan, Kind.MISSING
        value = self.number(cell)
        if value is not None:
            return (value, Kind.NUMBER) if math.isfinite(value) else (math.nan, Kind.INFINITE)
        if cell.lower() in _BOOLEANS:
            return _BOOLEANS[cell.lower()], Kind.BOOLEAN
        return math.nan, Kind.INFINITE if _INFINITE.fullmatch(cell) else Kind.TEXT

    def _without_signs(self, text: str) -> str:
        ends = self.strip + _SPACES
        sign = text[:1] if text[:1] in ("+", "-") and text[1:2] and text[1] in self.strip else ""  # -$5
        body = text.removeprefix(sign).strip(ends)
        return "" if sign and body[:1] in ("+", "-") else sign + body

    def other_notations(self, *cells: str) -> list[tuple[str, float]]:
        """Return the options that turn all text cells into numbers, with the first number, simplest first.

        Examples
        --------
        >>> CellFormat().other_notations("1,234")
        [('thousands=comma', 1234.0), ('decimal=comma', 1.234)]
        >>> CellFormat().other_notations("1,234", "0,5")
        [('decimal=comma', 1.234)]
        """
        if not all(map(_DIGIT.search, cells)):
            return []
        signs = "".join(sorted({mark for cell in cells for mark in cell if mark in _SIGNS}))
        found: list[tuple[str, float]] = []
        for options, notation in _notations(self, signs):
            values = [notation.number(cell) for cell in cells]
            first = values[0]
            if first is None or any(value is None or math.isinf(value) for value in values):
                continue
            if first not in [earlier for _, earlier in found]:
                found.append((options, first))
        return found[:2]


def _notations(base: CellFormat, signs: str) -> Iterable[tuple[str, CellFormat]]:
    """Yield notations of numbers with the options that ask for them."""
    strips = [("", base.strip)] + ([(f"strip={signs}", base.strip + signs)] if signs else [])
    for strip_option, strip in strips:
        for option, decimal, thousands in (
            ("", base.decimal, base.thousands),
            ("thousands=comma", ".", ","),
            ("decimal=comma", ",", ""),
            ("decimal=comma,thousands=point", ",", "."),
            ("thousands=space", ".", _SPACES),
            ("decimal=comma,thousands=space", ",", _SPACES),
            ("thousands=apostrophe", ".", "'’"),
            ("decimal=point", ".", ""),
        ):
            options = ",".join(filter(None, (option, strip_option)))
            if options:
                yield options, CellFormat(decimal, thousands, strip, base.missing)
