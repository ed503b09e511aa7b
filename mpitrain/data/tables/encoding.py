"""Encoding of the columns of a table as numbers and codes, by rules that the training rows have given.

Shapes: n rows, C columns of the table, F columns of the samples.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...json_text import to_json
from ..categories import Category
from .cells import CellFormat, Role

if TYPE_CHECKING:
    from .dates import DateFormat

PERIODS = {"year": 365.2425, "week": 7.0, "day": 1.0}
"""Periods of the cyclic parts of dates, in days."""
_MONDAY = 4  # the days from 1970-01-01 to the first Monday


@dataclass(frozen=True)
class Rule:
    """The encoding of one column.

    Attributes
    ----------
    name : str
    role : Role
    fill : float
        What takes the place of a missing number or date.
    indicator : bool
        Whether a column follows that is 1 where the value is missing.
    parts : tuple of str
        Of ``PERIODS``: the sine and the cosine of the place of a date in each of these follow.
    order : str
        As in ``DateFormat``.
    whole : bool
        Whether all values of a category are whole numbers, so that 3.0 is 3.
    category : Category or None
    """

    name: str
    role: Role
    fill: float = 0.0
    indicator: bool = False
    parts: tuple[str, ...] = ()
    order: str = ""
    whole: bool = False
    category: Category | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of its columns among the samples."""
        cyclic = [f"{self.name} ({wave} of {part})" for part in self.parts for wave in ("sin", "cos")]
        return (self.name, *cyclic, *([f"{self.name} is missing"] if self.indicator else []))

    def role_in(self, cell_format: CellFormat) -> "Role | DateFormat":
        """Return how a file with ``cell_format`` is to be read."""
        from .dates import DateFormat

        return DateFormat(self.order, cell_format.missing) if self.role == Role.DATE else self.role

    def codes_of(self, cells: Sequence[str], cell_format: CellFormat) -> np.ndarray:
        """Return the code (int64) of each of the distinct ``cells`` of a column of categories."""
        from .class_labels import class_labels

        assert self.category is not None
        assert self.category.values is not None
        codes = {value: code for code, value in enumerate(self.category.values.tolist(), 1)}
        labels = [class_labels([cell], cell_format)[0] for cell in cells] if self.whole else cells
        return np.fromiter((codes.get(label, 0) for label in labels), np.int64, len(cells))

    def facts(self) -> dict[str, Any]:
        """Return it as a JSON-able dict without the category, to be read by ``Encoding.from_facts``."""
        return {
            "name": self.name,
            "role": str(self.role),
            "fill": self.fill,
            "indicator": self.indicator,
            "parts": list(self.parts),
            "order": self.order,
            "whole": self.whole,
        }


@dataclass(frozen=True)
class Encoding:
    """The encoding of a table, column by column.

    Attributes
    ----------
    rules : tuple of Rule
    """

    rules: tuple[Rule, ...]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The C columns of the table."""
        return tuple(rule.name for rule in self.rules)

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """The F columns of the samples."""
        return tuple(name for rule in self.rules for name in rule.outputs)

    @cached_property
    def categories(self) -> tuple[Category | None, ...]:
        """The category of each column of the samples; empty where all are numbers."""
        found = tuple(rule.category if k == 0 else None for rule in self.rules for k in range(len(rule.outputs)))
        return found if any(one is not None for one in found) else ()

    @property
    def is_plain(self) -> bool:
        """True if all columns are numbers that are taken as they are, but for missing ones."""
        return all(rule.role == Role.NUMBER and not rule.indicator for rule in self.rules)

    @cached_property
    def starts(self) -> np.ndarray:
        """(C,) the first of each column's columns among the samples."""
        return np.cumsum([0, *(len(rule.outputs) for rule in self.rules)])[:-1]

    def encode(self, raw: np.ndarray, codes: Mapping[int, np.ndarray]) -> np.ndarray:
        """Return samples (n, F) float64.

        Parameters
        ----------
        raw : (n, C) array of float64
            NaN where numbers and dates are missing; of categories the places of texts.
        codes : dict of int to array of int64
            By the number of each column of categories: the code of each text (``Rule.codes_of``).
        """
        out = np.empty((len(raw), len(self.feature_names)))
        missing = np.isnan(raw)
        fills = np.array([rule.fill for rule in self.rules])
        out[:, self.starts] = np.where(missing, fills, raw)
        for k, rule in enumerate(self.rules):
            start = self.starts[k]
            if k in codes:
                out[:, start] = codes[k][raw[:, k].astype(np.int64)]
            for number, part in enumerate(rule.parts):
                out[:, start + 1 + 2 * number : start + 3 + 2 * number] = waves(out[:, start], part)
            if rule.indicator:
                out[:, start + len(rule.outputs) - 1] = missing[:, k]
        return out

    def facts(self) -> list[dict[str, Any]]:
        """Return it as JSON-able dicts without its categories."""
        return [rule.facts() for rule in self.rules]

    def digest(self) -> str:
        """Return a text that differs between different encodings."""
        return to_json([self.facts(), [one and one.digest() for one in self.categories]])

    @classmethod
    def from_facts(cls, facts: Iterable[Mapping[str, Any]], categories: Sequence[Category | None]) -> "Encoding":
        """Return the encoding that ``facts`` wrote down, with the ``categories`` of its samples.

        Raises
        ------
        KeyError, TypeError, ValueError
            If there is none, or not in this form.
        """
        rules = [_rule(one) for one in facts]
        if categories:
            starts = cls(tuple(rules)).starts
            rules = [replace(rule, category=categories[start]) for rule, start in zip(rules, starts.tolist())]
        if any((rule.role == Role.CATEGORY) != (rule.category is not None) for rule in rules):
            raise ValueError("columns of categories without their values")
        return cls(tuple(rules))


def waves(days: np.ndarray, part: str) -> np.ndarray:
    """Return the sine and the cosine (n, 2) of the place of ``days`` in a year, a week or a day.

    The angle is 0 at the beginning of 1970, on Mondays and at midnight, in UTC. A year has 365.2425 days.
    """
    shift = _MONDAY if part == "week" else 0
    angle = 2 * math.pi * np.mod((days - shift) / PERIODS[part], 1.0)
    return np.stack([np.sin(angle), np.cos(angle)], axis=1)


def _rule(facts: Mapping[str, Any]) -> Rule:
    parts = tuple(map(str, facts["parts"]))
    if not set(parts) <= set(PERIODS):
        raise ValueError(f"unknown parts of dates: {parts}")
    return Rule(
        name=str(facts["name"]),
        role=Role(facts["role"]),
        fill=float(facts["fill"]),
        indicator=bool(facts["indicator"]),
        parts=parts,
        order=str(facts["order"]),
        whole=bool(facts["whole"]),
    )
