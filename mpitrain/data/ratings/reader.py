"""Reader of ratings: who rated what, how, and when.

Shapes: N ratings.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ...suggest import did_you_mean
from ..files import file
from ..tables.cells import Kind
from ..tables.columns import UNLIMITED, Texts
from ..tables.options import text_options
from ..tables.reader import TableReader
from ..tables.table import Table
from ..tables.words import quoted, shortened
from .options import KEYS, NONE, RatingsOptions, known_columns
from .stream import opener_of

_WHOLE = re.compile(r"0|-?[1-9]\d{0,17}", re.ASCII)


@dataclass(frozen=True, eq=False)
class Interactions:
    """Ratings or clicks, in the order of the file.

    Attributes
    ----------
    path : Path
    columns : dict of str to str
        The column of each role, user, item, rating and time, that the file has.
    users, items : (U,), (I,) arrays of int64 or str
        The distinct names, in any order; integers where all of them are.
    user, item : (N,) arrays of int64
        Places in ``users`` and ``items``.
    rating : (N,) array of float64, or None
    order : (N,) array of int64
        The place of each in the order of time; of equal times, in that of the file.
    time : (N,) array of float64, or None
    notes : tuple of str
    """

    path: Path
    columns: dict[str, str]
    users: np.ndarray
    items: np.ndarray
    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray | None
    order: np.ndarray
    time: np.ndarray | None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.user)

    @property
    def name(self) -> str:
        """The name of the file without its suffixes."""
        return self.path.name.partition(".")[0] or self.path.name

    def select(self, rows: np.ndarray, *notes: str) -> "Interactions":
        """Return some of the rows, in the order of the file, with more notes."""
        parts = {name: getattr(self, name) for name in ("user", "item", "rating", "time")}
        taken: dict[str, Any] = {name: None if values is None else values[rows] for name, values in parts.items()}
        order = np.empty(len(rows), np.int64)
        order[np.argsort(self.order[rows], kind="stable")] = np.arange(len(rows))
        return replace(self, **taken, order=order, notes=(*self.notes, *notes))


def read_interactions(place: str, options: RatingsOptions) -> Interactions:
    """Read a file of ratings.

    Of several ratings of one item by one user the latest counts. Users with few ratings, and ratings below
    ``options.like``, are left out.

    Raises
    ------
    UserError
        As ``read_rows``, or if no row is left.
    """
    return _least_of_users(_without_repeats(_liked(read_rows(place, options), options)), options)


def read_rows(place: str, options: RatingsOptions) -> Interactions:
    """Read all rows of a file of ratings.

    Raises
    ------
    UserError
        If the file is damaged, lacks a column, has no rows, or a user, an item, a rating or a time is missing or not
        what it should be.
    """
    path = file(place, "ratings")
    settings = text_options("ratings", "" if options.sep == "::" else options.sep, options.encoding)
    opener, headless = opener_of(path, options.encoding, settings.sep)
    reader = TableReader(path, settings, opener=opener)
    columns, notes = _find_columns(path, list(filter(None, reader.header.names)), options, headless=headless)
    numbers = [columns[role] for role in ("rating", "time") if role in columns]
    names = [columns["user"], columns["item"]]
    keep = dict.fromkeys(names, UNLIMITED) | ({columns["time"]: 1} if "time" in columns else {})
    reader.read(numbers, names, keep)
    table = Table(path, settings, reader.lines, (), tuple(numbers), (), reader, (0, 0))
    if not table.lines:
        raise UserError(f"{path} has a header, but no rows" if not headless else f"{path} has no rows")
    table.check_whole(names, as_text=True)
    table.check_whole(numbers)
    rating = _ratings(table, columns["rating"]) if "rating" in columns else None
    time = _times(table, columns["time"]) if "time" in columns else None
    (users, user), (items, item) = (_names(table.texts(name)) for name in names)
    order = _order(time, len(table.lines))
    return Interactions(path, columns, users, items, user, item, rating, order, time, notes)


def _find_columns(
    path: Path, names: Sequence[str], options: RatingsOptions, *, headless: bool
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the column of each role, and notes on those that were found by their names."""
    known, found, guessed = known_columns(names), dict[str, str](), dict[str, str]()
    for role in ("user", "item", "rating", "time"):
        given = getattr(options, role)
        if given == NONE and role in ("rating", "time"):
            continue
        if given and given not in names:
            raise UserError(f"{path} has no column {given!r}{did_you_mean(given, names)}; it has {quoted(names, 40)}")
        if given:
            found[role] = given
        elif role in known and known[role] not in vars(options).values():
            found[role] = guessed[role] = known[role]
        elif role in ("user", "item"):
            raise UserError(
                f"{path} has no column that is named like {role}s: say which one holds them, as in {role}=COLUMN; it "
                f"has {quoted(names, 40)}"
            )
    twice = [name for name in found.values() if list(found.values()).count(name) > 1]
    if twice:
        raise UserError(f"{path}: column {twice[0]!r} cannot be two of {', '.join(list(KEYS)[:4])}")
    if headless:
        return found, (f"{path} has no header: its columns are taken for {', '.join(found)}",)
    shown = [f"{name!r} for {role}" for role, name in guessed.items() if name.lower() != role]
    return found, (f"{path}: columns are taken by their names, {', '.join(shown)}",) if shown else ()


def _ratings(table: Table, name: str) -> np.ndarray:
    tally = table.column(name).tally
    odd = tally.earliest(Kind.TEXT, Kind.BOOLEAN, Kind.INFINITE)
    if odd:
        row, cell = odd[0]
        hint = table.hint(cell)
        raise UserError(
            f"{table.path}: the rating {shortened(cell)} on line {table.lines[row]} is no number"
            f"{': ' + hint if hint else ''} (rating=none takes each row for a click)"
        )
    return table.values(name)


def _times(table: Table, name: str) -> np.ndarray:
    """Return times as (N,) float64: numbers as they are, dates in seconds."""
    tally = table.column(name).tally
    if not tally.count(Kind.TEXT, Kind.BOOLEAN, Kind.INFINITE):
        return table.values(name)
    texts = table.texts(name)
    seconds = np.empty(len(texts))
    for place, cell in enumerate(texts.cells):
        try:
            seconds[place] = np.datetime64(cell.removesuffix("Z"), "ms").astype(np.int64) / 1000
        except ValueError:
            line = table.lines[int(np.argmax(texts.codes == place))]
            raise UserError(
                f"{table.path}: the time {shortened(cell)} on line {line} is no number, and no date such as "
                "2024-03-01 12:30:00 (time=none takes the order of the rows)"
            ) from None
    found: np.ndarray = seconds[texts.codes]
    return found


def _names(texts: Texts) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct names, integers if all of them are, and the place of each row among them."""
    cells = texts.cells
    whole = all(_WHOLE.fullmatch(cell) for cell in cells)
    names = np.array([int(cell) for cell in cells], np.int64) if whole else np.array(cells)
    return names, texts.codes.astype(np.int64)


def _order(time: np.ndarray | None, count: int) -> np.ndarray:
    if time is None:
        return np.arange(count)
    order = np.empty(count, np.int64)
    order[np.argsort(time, kind="stable")] = np.arange(count)
    return order


def _liked(found: Interactions, options: RatingsOptions) -> Interactions:
    if options.like is None:
        return found
    if found.rating is None:
        raise UserError(f"{found.path} has no ratings for like={options.like:g} to choose from")
    rows = np.flatnonzero(found.rating >= options.like)
    if not len(rows):
        raise UserError(f"{found.path}: no rating is {options.like:g} or more (like=)")
    return found.select(rows, f"{found.path}: {len(rows):,} of {len(found):,} ratings are {options.like:g} or more")


def _without_repeats(found: Interactions) -> Interactions:
    """Return the latest of each user's ratings of one item."""
    latest = np.argsort(-found.order)
    pairs = (found.user * len(found.items) + found.item)[latest]
    rows = np.sort(latest[np.unique(pairs, return_index=True)[1]])
    dropped = len(found) - len(rows)
    if not dropped:
        return found
    note = f"{found.path}: {dropped:,} of {len(found):,} rows repeat a user and an item: the latest of each counts"
    return found.select(rows, note)


def _least_of_users(found: Interactions, options: RatingsOptions) -> Interactions:
    counts = np.bincount(found.user, minlength=len(found.users))
    few = int(np.count_nonzero((counts > 0) & (counts < options.min_user)))
    if not few:
        return found
    rows = np.flatnonzero(counts[found.user] >= options.min_user)
    if not len(rows):
        raise UserError(f"{found.path}: no user has {options.min_user:,} ratings (min_user=)")
    note = f"{found.path}: {few:,} user{'s' * (few > 1)} with less than {options.min_user:,} ratings are left out"
    return found.select(rows, note)
