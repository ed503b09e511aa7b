"""Cells of a table by column while they are read: numbers at once, texts only if needed.

Shapes: N rows so far; n rows of a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .cells import CellFormat, Kind, Role
from .dates import DateFormat

SHOWN = 5  # cells kept of each kind, to show them
MANY = 4096  # distinct numbers from which on their texts are not kept
UNLIMITED = 1 << 62


@dataclass
class Tally:
    """The cells of a column counted by kind, with the first ones of each kind.

    Attributes
    ----------
    counts : list of int by ``Kind``
    first : dict of Kind to list of (row, cell)
        At most ``SHOWN`` each; none of numbers.
    """

    counts: list[int] = field(default_factory=lambda: [0] * len(Kind))
    first: dict[Kind, list[tuple[int, str]]] = field(default_factory=dict)

    def add(self, cells: Sequence[str], kinds: np.ndarray, codes: np.ndarray, row: int) -> None:
        """Count rows from ``row`` on, whose cells are ``cells[codes]`` and of the kinds ``kinds[codes]``."""
        by_row = kinds[codes]
        fresh = np.bincount(by_row, minlength=len(Kind)).tolist()
        self.counts = [a + b for a, b in zip(self.counts, fresh)]
        for kind in Kind:
            shown = self.first.get(kind, [])
            if kind != Kind.NUMBER and len(shown) < SHOWN and kind in kinds:
                rows = np.flatnonzero(by_row == kind)[: SHOWN - len(shown)]
                self.first[kind] = shown + [(row + int(k), cells[codes[k]]) for k in rows]

    def count(self, *kinds: Kind) -> int:
        """Return how many cells are of any of ``kinds``."""
        return sum(self.counts[kind] for kind in kinds)

    def earliest(self, *kinds: Kind) -> list[tuple[int, str]]:
        """Return the first cells of any of ``kinds``, with their rows."""
        return sorted(pair for kind in kinds for pair in self.first.get(kind, []))[:SHOWN]

    @property
    def is_boolean(self) -> bool:
        """True for a column of True and False, with numbers only as marks of missing values."""
        return self.count(Kind.BOOLEAN) > 0 and not self.count(Kind.NUMBER, Kind.INFINITE, Kind.TEXT)

    @property
    def odd_kinds(self) -> tuple[Kind, ...]:
        """Kinds of cells that do not belong in a column of numbers (or of booleans)."""
        return (Kind.INFINITE, Kind.TEXT) if self.is_boolean else (Kind.BOOLEAN, Kind.INFINITE, Kind.TEXT)

    @property
    def is_text(self) -> bool:
        """True if at least half of the cells that are not missing are text."""
        text = self.count(Kind.TEXT) + (0 if self.is_boolean else self.count(Kind.BOOLEAN))
        return text > 0 and text >= self.count(Kind.NUMBER, Kind.INFINITE)


def factorize(cells: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the distinct cells, stripped, and (n,) int32 codes into them."""
    places: dict[str, int] = {}
    codes = np.fromiter((places.setdefault(cell, len(places)) for cell in cells), np.int32, len(cells))
    return merge_stripped(list(places), codes)


def merge_stripped(cells: list[str], codes: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Strip distinct cells; those that become equal get one code."""
    places: dict[str, int] = {}
    stripped = np.array([places.setdefault(cell.strip(), len(places)) for cell in cells], np.int32)
    return list(places), stripped[codes]


class Texts:
    """The exact texts of a column, each distinct one once.

    They are numbered in order of appearance.
    """

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._codes: list[np.ndarray] = []
        self.keeps_codes = True
        """False if only ``add`` returns the codes, and ``codes`` has none."""

    @property
    def cells(self) -> list[str]:
        """The distinct texts."""
        return list(self._places)

    def add(self, cells: Sequence[str], codes: np.ndarray) -> np.ndarray:
        """Append rows whose texts are ``cells[codes]``; return the places of these texts, (n,) int32."""
        places = self._places
        own = np.array([places.setdefault(cell, len(places)) for cell in cells], np.int32)
        found: np.ndarray = own[codes]
        if self.keeps_codes:
            self._codes.append(found)
        return found

    def forget_codes(self) -> None:
        """Store no codes from now on."""
        self._codes, self.keeps_codes = [], False

    def __len__(self) -> int:
        return len(self._places)

    @property
    def codes(self) -> np.ndarray:
        """(N,) int32: the place of each row's text in ``cells``."""
        if len(self._codes) != 1:
            self._codes = [np.concatenate(self._codes) if self._codes else np.empty(0, np.int32)]
        return self._codes[0]


class Column:
    """One column of a table while it is read.

    Parameters
    ----------
    name : str
    cell_format : CellFormat
    keep : int
        Keep the exact texts; ``texts`` becomes None if more than this many are distinct and they are numbers.
    role : Role
        With AUTO and CATEGORY the texts are kept until ``settle``.
    gaps : bool
        Whether it does not matter how missing numbers are written: they are all counted as empty cells.
    """

    def __init__(
        self,
        name: str,
        cell_format: CellFormat | DateFormat,
        keep: int,
        role: Role = Role.NUMBER,
        *,
        gaps: bool = False,
    ):
        self.gaps = gaps
        self.name, self._format, self.role = name, cell_format, role
        self.tally = Tally()
        unsettled = role in (Role.AUTO, Role.CATEGORY)
        self.texts = Texts() if keep or unsettled else None
        self._keep = UNLIMITED if unsettled else keep
        self.ignored = False
        """True if the first block has shown a text column, whose other cells are skipped."""
        self.all_plain = role != Role.DATE
        """True if all cells so far were finite numbers, or missing where ``gaps``."""

    @property
    def dates(self) -> DateFormat | None:
        """The notation of a column of dates."""
        return self._format if isinstance(self._format, DateFormat) else None

    def settle(self, role: Role, dates: DateFormat | None = None) -> np.ndarray | None:
        """Decide the role after the first rows; return their values (n,) if they are others than before.

        Those of a category are the places of the texts, as for all rows to come.
        """
        self.role = role
        texts = self.texts
        if texts is None:
            return None
        if role == Role.CATEGORY:
            codes = texts.codes
            texts.forget_codes()
            return codes.astype(np.float64)
        self.texts = None
        if dates is None:
            return None
        self._format, self.tally, self.all_plain = dates, Tally(), False
        return self.add_coded(texts.cells, texts.codes, 0)

    def add(self, cells: Sequence[str], row: int) -> np.ndarray:
        """Take the cells of a block from ``row`` on; return (n,) float64, NaN for cells that are not numbers."""
        if self.texts is None:
            values = self._format.floats(cells)
            if values is not None:
                return self.add_numbers(values)
            if self.gaps and isinstance(self._format, CellFormat):
                values = self._format.floats_with_gaps(cells)
                if values is not None:
                    return self.add_values(values, row)
        return self.add_coded(*factorize(cells), row)

    def add_numbers(self, values: np.ndarray) -> np.ndarray:
        """Take finite numbers; return them."""
        self.tally.counts[Kind.NUMBER] += len(values)
        return values

    def add_values(self, values: np.ndarray, row: int) -> np.ndarray:
        """Take numbers or days of rows from ``row`` on, NaN for missing ones; return them, infinite ones as NaN."""
        if bool(np.isfinite(values).all()):
            return self.add_numbers(values)
        codes = np.select([np.isnan(values), values == np.inf, values == -np.inf], [1, 2, 3], 0)
        kinds = np.array([Kind.NUMBER, Kind.EMPTY, Kind.INFINITE, Kind.INFINITE], np.int8)
        self.tally.add(["", "", "inf", "-inf"], kinds, codes, row)
        self.all_plain &= self.gaps and bool((codes < 2).all())
        return np.where(codes == 0, values, np.nan)

    def add_coded(self, cells: Sequence[str], codes: np.ndarray, row: int) -> np.ndarray:
        """Take rows whose stripped cells are ``cells[codes]``; return (n,) float64, as ``add``."""
        values, kinds = self._format.interpret(cells)
        self.tally.add(cells, kinds, codes, row)
        plain = (Kind.NUMBER, Kind.EMPTY, Kind.MISSING) if self.gaps else (Kind.NUMBER,)
        self.all_plain &= bool(np.isin(kinds, plain).all())
        if self.texts is not None:
            places = self.texts.add(cells, codes)
            if not self.texts.keeps_codes:
                return places.astype(np.float64)
            if len(self.texts) > self._keep and not self.tally.is_text:
                self.texts = None
        coded: np.ndarray = values[codes]
        return coded
