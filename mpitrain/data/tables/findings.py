"""Doubtful columns among the features of a table: constants, ids, labels in disguise.

Shapes: N rows, F features.
"""

from collections.abc import Callable, Sequence

import numpy as np

from .words import quoted

ENOUGH = 20  # rows from which on it is no accident that an integer never comes twice
_SAMPLE = 1 << 16  # rows looked at before a whole column is


def is_constant(values: np.ndarray) -> bool:
    """Return whether all values are the same."""
    return len(values) > 1 and _all(values, lambda part: bool((part == values[0]).all()))


def is_id(values: np.ndarray) -> bool:
    """Return whether the values are distinct integers, like ids or row numbers."""
    if len(values) < ENOUGH or not _all(values, lambda part: bool((part == np.floor(part)).all())):
        return False
    return _all(values, lambda part: bool((np.diff(part) > 0).all()) or len(np.unique(part)) == len(part))


def is_indicator(values: np.ndarray) -> bool:
    """Return whether all values are 0 or 1."""
    return _all(values, lambda part: bool(((part == 0) | (part == 1)).all()))


def doubts(columns: Sequence[np.ndarray], names: Sequence[str]) -> list[str]:
    """Return sentences on constant columns and on ids among ``columns`` (N,) of numbers."""
    found = []
    constants = [name for name, column in zip(names, columns) if is_constant(column)]
    if constants:
        found.append(f"{_columns(constants)} the same value in every row")
    ids = [name for name, column in zip(names, columns) if is_id(column)]
    if ids:
        found.append(f"{_columns(ids)} another integer in every row: drop={ids[0]} leaves an id out")
    return found


def one_hot_partners(columns: Sequence[np.ndarray], names: Sequence[str], target: np.ndarray) -> list[str]:
    """Return the ``columns`` (N,) that hold one-hot labels together with a target of 0 and 1: one is 1 in each row.

    They give the target away. Columns side by side are looked for, as data frames write them.
    """
    if not is_indicator(target):
        return []
    indicators = [k for k in range(len(names)) if is_indicator(columns[k]) and not is_constant(columns[k])]
    for group in _neighbors(indicators, names):
        if len(group) > 0 and bool((sum((columns[k] for k in group), target) == 1).all()):
            return [names[k] for k in group]
    return []


def _neighbors(places: list[int], names: Sequence[str]) -> list[list[int]]:
    """Return groups of columns that may belong together: all, adjacent ones, those with a common prefix."""
    runs: list[list[int]] = []
    for k in places:
        if runs and runs[-1][-1] == k - 1:
            runs[-1].append(k)
        else:
            runs.append([k])
    prefixes: dict[str, list[int]] = {}
    for k in places:
        prefixes.setdefault(names[k].rstrip("0123456789").rpartition("_")[0] or names[k][:1], []).append(k)
    return [places, *runs, *prefixes.values()]


def _all(values: np.ndarray, holds: Callable[[np.ndarray], bool]) -> bool:
    """Return whether a statement holds for all values, after a quick test on a sample of them."""
    return holds(values[:_SAMPLE]) and (len(values) <= _SAMPLE or holds(values))


def _columns(names: Sequence[str]) -> str:
    return f"column{'s' * (len(names) > 1)} {quoted(names)} hold{'s' * (len(names) == 1)}"
