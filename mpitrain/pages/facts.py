"""Values in files that may be damaged or of another version: each is what it should be, or missing."""

import math
from collections.abc import Mapping
from typing import Any

Facts = Mapping[str, Any]


LARGEST = 1e100  # of a number that is shown: axes hold the differences of such
MOST = 1 << 62  # of a whole number: it fits in an array of them


def as_number(value: Any) -> float:
    """Return a value as a number; NaN where it is none, or too large to be shown.

    >>> as_number(3), as_number("3"), as_number(10**400)
    (3.0, nan, nan)
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and -LARGEST < value < LARGEST else math.nan


def as_whole(value: Any) -> int:
    """Return a value as a whole number from 0 on; 0 where it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST else 0


def number(facts: Facts, key: str) -> float:
    """Return a number; NaN where there is none."""
    return as_number(facts.get(key))


def whole(facts: Facts, key: str) -> int:
    """Return a whole number from 0 on; 0 where there is none."""
    return as_whole(facts.get(key))


def text(facts: Facts, key: str) -> str:
    """Return a text; empty where there is none."""
    value = facts.get(key)
    return value if isinstance(value, str) else ""


def table(facts: Facts, key: str) -> dict[str, Any]:
    """Return an object; empty where there is none."""
    value = facts.get(key)
    return value if isinstance(value, dict) else {}


def items(facts: Facts, key: str) -> list[Any]:
    """Return a list; empty where there is none."""
    value = facts.get(key)
    return value if isinstance(value, list) else []


def tables(facts: Facts, key: str) -> list[dict[str, Any]]:
    """Return the objects of a list."""
    return [value for value in items(facts, key) if isinstance(value, dict)]


def scores(facts: Facts, key: str) -> dict[str, float]:
    """Return the scores of a split: numbers by name, NaN for those that are null."""
    found = table(facts, key)
    return {
        name: number(found, name) for name, value in found.items() if value is None or isinstance(value, int | float)
    }
