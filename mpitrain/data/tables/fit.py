"""Choice of the encoding of a table by its training rows, and samples encoded by it.

Shapes: N training rows, C columns of the table, F columns of the samples.
"""

from collections.abc import Callable, Sequence

import numpy as np

from ...errors import UserError
from ..categories import Category, only_codes
from .cells import Kind, Role
from .class_labels import class_labels
from .dates import DateFormat
from .encoding import PERIODS, Encoding, Rule
from .features import feature_roles, missing_texts, texts_of_category
from .options import ORDERS
from .statistics import BLOCK, Statistics
from .table import Table
from .words import quoted

_MONTH = 28.0  # days that the dates must span for a place in the year


def fit_encoding(table: Table, rows: np.ndarray) -> tuple[Encoding, list[str]]:
    """Return the encoding of the features of a table, and notes on what was decided.

    Parameters
    ----------
    rows : (N,) array of int64
        The rows to train on: only these decide.

    Raises
    ------
    UserError
        If a column is neither numbers nor dates nor text, or no column is left.
    """
    roles = feature_roles(table)
    places = {name: k for k, name in enumerate(table.features)}
    texts = {places[name]: texts_of_category(table, name) for name, role in roles.items() if role == Role.CATEGORY}
    dates = {places[name] for name, role in roles.items() if role == Role.DATE}
    found = Statistics(table.raw, rows, {k: len(cells) for k, cells in texts.items()}, dates)
    fills = found.centers(table.options.impute)
    rules, left_out, rare = [], dict[str, str](), 0
    for name, role in roles.items():
        k = places[name]
        if role == Role.CATEGORY:
            rule, dropped = _category(table, name, texts[k], found.counts[k])
            rare += dropped
            if rule.category is not None and rule.category.size == 1:
                left_out[name] = f"no category of it is in {table.options.min_count:,} training rows (min_count=)"
                continue
        elif found.missing[k] == len(rows):
            left_out[name] = "it has no value in the training rows"
            continue
        else:
            indicator = bool(found.missing[k])
            rule = Rule(name, role, fill=float(fills[k]), indicator=indicator)
            if role == Role.DATE:
                rule = _date(table, rule, found, k)
        rules.append(rule)
    encoding = Encoding(tuple(rules))
    notes = _notes(table, encoding, left_out, rare, {name: int(found.missing[k]) for name, k in places.items()})
    if not rules:
        words = [name for name in left_out if roles[name] == Role.CATEGORY]
        hint = f" (text={words[0]} reads it as a text)" if words and table.options.kind == "csv" else ""
        raise UserError(f"{table.path}: no column is left to learn from: {notes[0].partition(': ')[2]}{hint}")
    return encoding, notes


def encoded(
    table: Table, encoding: Encoding, empty: Callable[[tuple[int, ...], type], np.ndarray] = np.empty
) -> np.ndarray:
    """Return the samples (N, F) of a table, float64 or, where all are codes, int64.

    Where nothing is to be changed this is the table's own array.

    Parameters
    ----------
    empty : callable(shape, dtype) -> array
        Makes the array to fill.
    """
    chosen = [table.features.index(name) for name in encoding.columns]
    whole = chosen == list(range(len(table.features)))
    if whole and encoding.is_plain and not table.has_missing(encoding.columns):
        return table.raw
    codes = {
        k: rule.codes_of(texts_of_category(table, rule.name), table.options.format)
        for k, rule in enumerate(encoding.rules)
        if rule.role == Role.CATEGORY
    }
    dtype = np.int64 if only_codes(encoding.categories) else np.float64
    x = empty((len(table.raw), len(encoding.feature_names)), dtype)
    for start in range(0, len(x), BLOCK):
        part = table.raw[start : start + BLOCK]
        x[start : start + BLOCK] = encoding.encode(part if whole else part[:, chosen], codes)
    return x


def roles_of(table: Table, encoding: Encoding | None) -> dict[str, Role | DateFormat]:
    """Return how the features of a table are read: by an encoding, or so that one can be chosen."""
    if encoding is not None:
        return {rule.name: rule.role_in(table.options.format) for rule in encoding.rules}
    return {name: Role.CATEGORY if name in table.categories else Role.AUTO for name in table.features}


def missing_notes(table: Table, encoding: Encoding) -> list[str]:
    """Return a note on numbers that are missing in another table than the one trained on, but were not in that."""
    odd = [rule for rule in encoding.rules if rule.role != Role.CATEGORY and not rule.indicator]
    names = [rule.name for rule in odd if table.has_missing([rule.name])]
    if not names:
        return []
    return [
        f"{table.path}: values are missing in {quoted(names)}, where the training rows had all: filled by a middle "
        "value of these"
    ]


def _category(table: Table, name: str, cells: Sequence[str], counts: np.ndarray) -> tuple[Rule, int]:
    """Return the rule of a column of categories, and how many of these are too rare to have a code."""
    missing = missing_texts(table, name, cells)
    there = [k for k in range(len(cells)) if k not in missing]
    labels = class_labels([cells[k] for k in there], table.options.format)
    whole = labels != [cells[k] for k in there] or all(_is_integer(label) for label in labels)
    rows: dict[str, int] = {}
    for label, k in zip(labels, there):
        rows[label] = rows.get(label, 0) + int(counts[k])
    often = [label for label, count in rows.items() if count >= table.options.min_count]
    rare = sum(0 < count < table.options.min_count for count in rows.values())
    return Rule(name, Role.CATEGORY, whole=whole, category=Category.of(np.array(often, np.str_))), rare


def _is_integer(label: str) -> bool:
    return label.removeprefix("-").isdecimal() and label.isascii()


def _date(table: Table, rule: Rule, found: Statistics, k: int) -> Rule:
    dates = table.column(rule.name).dates
    span = found.most[k] - found.least[k]
    shown = {"year": span >= _MONTH, "week": found.has_days[k] and span >= 1, "day": found.has_times[k]}
    parts = tuple(part for part in PERIODS if shown[part])
    order = "" if dates is None else dates.order
    return Rule(rule.name, rule.role, rule.fill, rule.indicator, parts, order)


def _notes(table: Table, encoding: Encoding, left_out: dict[str, str], rare: int, missing: dict[str, int]) -> list[str]:
    """Return a line each on categories, dates, missing values and columns that are left out."""
    notes = []
    categories = [(rule.name, rule.category.size - 1) for rule in encoding.rules if rule.category is not None]
    if categories:
        shown = ", ".join(f"{name!r} ({size:,})" for name, size in categories[:5])
        more = f" and {len(categories) - 5:,} more" if len(categories) > 5 else ""
        below = f"; {rare:,} rare one{'s count' if rare > 1 else ' counts'} as unknown (min_count=)" if rare else ""
        notes.append(f"categories: {shown}{more}{below}")
    mixed = [name for name, _ in categories if name not in table.categories]
    mixed = [name for name in mixed if table.column(name).tally.count(Kind.NUMBER)]
    if mixed:
        notes.append(f"{quoted(mixed)} hold{'s' * (len(mixed) == 1)} text, but also numbers: all are categories")
    dates = [rule for rule in encoding.rules if rule.role == Role.DATE]
    if dates:
        order = next((f", {ORDERS[rule.order]}" for rule in dates if rule.order), "")
        notes.append(f"dates, as days: {quoted([rule.name for rule in dates])}{order}")
    filled = [rule.name for rule in encoding.rules if rule.indicator]
    if filled:
        count = sum(missing[name] for name in filled)
        notes.append(
            f"{count:,} missing value{'s' * (count > 1)} in {quoted(filled)}: filled by the {table.options.impute} of "
            "the training rows, and marked in columns of their own"
        )
    for reason in dict.fromkeys(left_out.values()):
        names = [name for name, why in left_out.items() if why == reason]
        notes.append(f"column{'s' * (len(names) > 1)} {quoted(names)}: {reason}; left out")
    return [f"{table.path}: {note}" for note in notes]
