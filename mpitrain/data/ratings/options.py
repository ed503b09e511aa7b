"""The grammar of ``ratings:FILE,key=value,key=value``."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

from ...errors import UserError
from ...suggest import did_you_mean
from ..source_options import is_there, split_options

KEYS = {
    "user": "column of the users (by default one named user, userId, user_id, ...)",
    "item": "column of the items (item, movieId, product_id, asin, ...)",
    "rating": "column of the ratings (rating, score, stars, ...); rating=none takes each row for a click",
    "time": "column of the times, numbers or dates (timestamp, time, date, ...); time=none takes the order of the rows",
    "split": "test samples: random, leave-last-out, leave-last-two-out (validation, too) or time (the latest)",
    "history": "latest items of the user before each click that a sample holds besides the user (default 0)",
    "negatives": "samples are pairs of user and item, clicks and so many drawn items without a click for each",
    "like": "least rating that counts as a click; others are left out",
    "min_user": "least number of ratings of a user; the rows of others are left out",
    "sep": "separator: comma, semicolon, tab, pipe, space or one character (by default what the file shows)",
    "encoding": "encoding of the text, such as latin-1 (default utf-8)",
}
"""The options of a source of ratings and their meaning."""

SplitName = Literal["random", "leave-last-out", "leave-last-two-out", "time"]
SPLITS = ("random", "leave-last-out", "leave-last-two-out", "time")
NONE = "none"
MOST_HISTORY, MOST_NEGATIVES = 1000, 1000


@dataclass(frozen=True)
class RatingsOptions:
    """Options of a source of ratings; see ``KEYS``.

    Attributes
    ----------
    user, item, rating, time : str
        Columns as given; empty to find them by their names.
    split : str
        Empty where the task decides.
    history, negatives, min_user : int
    like : float or None
    sep, encoding : str
        As given; empty where the source does not say.
    """

    user: str = ""
    item: str = ""
    rating: str = ""
    time: str = ""
    split: SplitName | Literal[""] = ""
    history: int = 0
    negatives: int = 0
    like: float | None = None
    min_user: int = 1
    sep: str = ""
    encoding: str = ""


def parse_ratings_source(text: str) -> tuple[str, RatingsOptions]:
    """Split what follows ``ratings:`` into the path and the options.

    Raises
    ------
    UserError
        If an option is given twice, or has a value that it cannot have.

    Examples
    --------
    >>> path, options = parse_ratings_source("ml/ratings.csv,split=leave-last-out,history=5")
    >>> path, options.split, options.history
    ('ml/ratings.csv', 'leave-last-out', 5)
    """
    path, given = split_options(text, KEYS)
    twice = [key for key, values in given.items() if len(values) > 1]
    if twice:
        raise UserError(f"ratings:{text}: {twice[0]}= is given twice")
    odd = re.search(r",\s*([a-zA-Z_-]+)=", path)
    if odd is not None and not is_there(path) and is_there(path[: odd.start()]):
        hint = did_you_mean(odd[1], KEYS)
        raise UserError(f"ratings:{path[: odd.start()]} has no option {odd[1]!r}{hint}, only {', '.join(KEYS)}")
    values = {key: texts[0] for key, texts in given.items()}
    split = values.get("split", "")
    if "split" in values and split not in SPLITS:
        raise UserError(f"ratings: split= is one of {', '.join(SPLITS)}, not {split!r}{did_you_mean(split, SPLITS)}")
    options = RatingsOptions(
        user=values.get("user", ""),
        item=values.get("item", ""),
        rating=values.get("rating", ""),
        time=values.get("time", ""),
        split=cast(SplitName, split),
        history=_whole(values, "history", range(MOST_HISTORY + 1), 0),
        negatives=_whole(values, "negatives", range(1, MOST_NEGATIVES + 1), 0),
        like=_number(values, "like"),
        min_user=_whole(values, "min_user", range(1, 1 << 31), 1),
        sep=values.get("sep", ""),
        encoding=values.get("encoding", ""),
    )
    if options.history and options.negatives:
        raise UserError("ratings: history= is for samples of one click each, and negatives= for pairs: not both")
    return path, options


def known_columns(names: Iterable[str]) -> dict[str, str]:
    """Return the columns of a header by their role, user, item, rating and time, that their names tell.

    >>> known_columns(["userId", "movieId", "rating", "timestamp", "title"])
    {'user': 'userId', 'item': 'movieId', 'rating': 'rating', 'time': 'timestamp'}
    """
    plain = {"".join(filter(str.isalnum, name)).lower(): name for name in reversed(list(names))}
    found = {}
    for role, known in ROLES.items():
        first = next((plain[name] for name in known.split() if name in plain), None)
        if first is not None:
            found[role] = first
    return found


ROLES = {
    "user": "user userid uid username reviewerid customer customerid visitorid memberid accountid",
    "item": "item itemid movie movieid product productid asin book bookid isbn song songid track trackid artistid",
    "rating": "rating ratings score stars overall bookrating",
    "time": "time timestamp unixtime unixreviewtime date datetime ts",
}
"""The names that tell the role of a column, in lower case without signs, the first one first."""


def _whole(values: dict[str, str], key: str, allowed: range, default: int) -> int:
    if key not in values:
        return default
    text = values[key]
    if not (text.isascii() and text.isdigit()) or int(text) not in allowed:
        most = f" to {allowed[-1]:,}" if allowed.stop < 1 << 31 else " or more"
        raise UserError(f"ratings: {key}= is a whole number, {allowed[0]}{most}, not {text!r}")
    return int(text)


def _number(values: dict[str, str], key: str) -> float | None:
    if key not in values:
        return None
    try:
        number = float(values[key])
    except ValueError:
        number = float("nan")
    if not abs(number) < float("inf"):
        raise UserError(f"ratings: {key}= is a number, not {values[key]!r}")
    return number
