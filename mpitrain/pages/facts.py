"""Values in files that may be damaged or of another version: each is what it should be, or missing."""

import math
from collections.abc import Mapping
from typing import Any

Facts = Mapping[str, Any]


def number(facts: Facts, key: str) -> float:
    """Return a number; NaN where there is none.

    >>> number({"a": 3}, "a"), number({"a": "3"}, "a"), number({}, "a")
    (3.0, nan, nan)
    """
    value = facts.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def whole(facts: Facts, key: str) -> int:
    """Return a whole number from 0 on; 0 where there is none."""
    value = facts.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


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
    return {name: number(found, name) for name, value in found.items() if value is None or not _odd(value)}


def _odd(value: Any) -> bool:
    return isinstance(value, bool) or not isinstance(value, int | float)
