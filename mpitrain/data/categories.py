"""Categories: columns of a table whose values are names or numbers of things, as codes.

Shapes: N samples, F columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UserError
from .blocks import digest_bytes

UNKNOWN = 0
"""The code of a missing value, and of one that the training data did not have."""
MOST = 1 << 24
"""Codes of a column beside columns of numbers: float32 tells so many whole numbers apart."""


@dataclass(frozen=True, eq=False)
class Category:
    """The values of a column and their codes: ``values[k]`` has the code k + 1, any other value ``UNKNOWN``.

    Attributes
    ----------
    size : int
        The number of codes.
    values : (size - 1,) array of str or int64, or None
        Sorted and distinct. None where the column holds codes already.

    Examples
    --------
    >>> colors = Category.of(np.array(["red", "blue", "red"]))
    >>> colors.size, colors.encode(np.array(["red", "green", "blue"])).tolist()
    (3, [2, 0, 1])
    """

    size: int
    values: np.ndarray | None = None

    @classmethod
    def of(cls, column: np.ndarray) -> "Category":
        """Return the category of the values in ``column`` (N,), str or integers."""
        values = np.unique(column)
        values = values.astype(np.int64) if values.dtype.kind in "iu" else values.astype(np.str_)
        return cls(len(values) + 1, values)

    def encode(self, column: np.ndarray) -> np.ndarray:
        """Return the codes (N,) int64 of the values in ``column`` (N,).

        Raises
        ------
        UserError
            If the column holds codes, and one is outside of ``range(size)``.
        """
        if self.values is None:
            codes = column.astype(np.int64)
            for found in (codes.min(initial=0), codes.max(initial=0)):
                if not 0 <= found < self.size:
                    raise UserError(f"a code is {found}, and there are the codes 0 to {self.size - 1}")
            return codes
        if not len(self.values):
            return np.zeros(len(column), np.int64)
        column = column.astype(np.str_ if self.values.dtype.kind == "U" else np.int64)
        places = np.searchsorted(self.values, column).clip(max=len(self.values) - 1)
        return np.where(self.values[places] == column, places + 1, UNKNOWN)

    def translate(self, codes: np.ndarray, other: "Category") -> np.ndarray:
        """Return the codes here of what has the ``codes`` (N,) in ``other``, by its values."""
        if self.values is None or other.values is None:
            return self.encode(codes)
        table = np.concatenate([[UNKNOWN], self.encode(other.values)])
        found: np.ndarray = table[codes]
        return found

    def name(self, code: int) -> str:
        """Return the value of a code as text; empty for ``UNKNOWN``."""
        if self.values is None:
            return str(code)
        return "" if code == UNKNOWN else str(self.values[code - 1])

    def facts(self) -> dict[str, Any]:
        """Return it as a JSON-able dict, to be read by ``from_facts``."""
        return {"size": self.size, "values": None if self.values is None else self.values.tolist()}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "Category":
        """Return the category that ``facts`` wrote down.

        Raises
        ------
        KeyError, TypeError, ValueError
            If there is none, or not in this form.
        """
        size, values = int(facts["size"]), facts["values"]
        if values is None:
            return cls(size)
        found = np.array(values, np.int64 if values and isinstance(values[0], int) else np.str_)
        if found.ndim != 1 or len(found) != size - 1:
            raise ValueError(f"{len(found)} values for {size} codes")
        return cls(size, found)

    def digest(self) -> str:
        """Return a short text that differs between different categories."""
        if self.values is None:
            return f"{self.size} codes"
        text = "\0".join(map(str, self.values.tolist())).encode("utf-8", "surrogatepass")
        return f"{self.size} codes {digest_bytes(np.frombuffer(text, np.uint8))}"


Categories = Sequence[Category | None]
"""One per column; None for a column of numbers. Empty where all columns are numbers."""


def facts_of(categories: Categories) -> list[dict[str, Any] | None]:
    """Return categories as a JSON-able list, to be read by ``categories_from``; a repeated one is written once."""
    places = {id(one): place for place, one in reversed(list(enumerate(categories)))}
    return [
        None if one is None else one.facts() if places[id(one)] == place else {"column": places[id(one)]}
        for place, one in enumerate(categories)
    ]


def categories_from(facts: Sequence[Mapping[str, Any] | None]) -> tuple[Category | None, ...]:
    """Return the categories that ``facts_of`` wrote down.

    Raises
    ------
    KeyError, TypeError, ValueError
        If there are none, or not in this form.
    """
    found: list[Category | None] = []
    for one in facts:
        if one is not None and "column" in one:
            if not 0 <= int(one["column"]) < len(found):
                raise ValueError(f"column {len(found)} is like {one['column']}")
            found.append(found[int(one["column"])])
        else:
            found.append(None if one is None else Category.from_facts(one))
    return tuple(found)


def sizes_of(categories: Categories) -> tuple[int, ...]:
    """Return the number of codes of each column; 0 for a column of numbers.

    >>> sizes_of([None, Category(7)])
    (0, 7)
    """
    return tuple(0 if one is None else one.size for one in categories)


def only_codes(categories: Categories) -> bool:
    """Return whether there are columns, and no numbers among them: samples are then (N, F) int64."""
    return bool(categories) and None not in categories


def check_categories(x: np.ndarray, categories: Categories, where: str, names: Sequence[str] = ()) -> None:
    """Raise a UserError unless the columns of ``x`` (N, F) hold codes of ``categories``.

    Columns of codes beside columns of numbers may have ``MOST`` codes.
    """
    if not categories:
        return
    if x.ndim != 2 or x.shape[1] != len(categories):
        raise UserError(f"{where}: samples of the shape {x.shape} for {len(categories)} columns")
    for place, one in enumerate(categories):
        if one is None:
            continue
        name = repr(names[place]) if names else str(place)
        if not only_codes(categories) and one.size > MOST:
            raise UserError(f"{where}: column {name} has {one.size:,} categories, and at most {MOST:,} are possible")
        column = x[:, place]
        least, most = column.min(initial=0), column.max(initial=0)
        if least < 0 or most >= one.size or (column.dtype.kind == "f" and (column != np.floor(column)).any()):
            raise UserError(f"{where}: column {name} must hold the codes 0 to {one.size - 1}")
