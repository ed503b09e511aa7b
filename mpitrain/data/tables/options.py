"""The grammar of ``csv:FILE,key=value,key=value``."""

import codecs
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...errors import UserError
from ...suggest import did_you_mean, nearest
from ..source_options import is_there, split_options
from .cells import CellFormat
from .stream import FilePart

KEYS = {
    "target": "column to predict; several columns for one-hot labels or several values",
    "drop": "columns to leave out: drop=id,name (may be given again)",
    "test": "second file, with the same columns, as the test set",
    "na": "cells that count as missing, instead of NA, N/A, null, ... : na=-999,unknown",
    "decimal": "decimal sign: point or comma",
    "thousands": "sign between groups of three digits: comma, point, space or apostrophe",
    "strip": "signs to remove from numbers: strip=$%",
    "categories": "columns to take as categories though they hold numbers: categories=zip,store",
    "min_count": "categories in fewer training rows count as unknown (default 2)",
    "dates": "order of dates such as 03/04/2024: dmy or mdy",
    "impute": "value in place of missing numbers: median (default) or mean of the training rows",
    "sep": "separator: comma, semicolon, tab, pipe, space or one character (by default what the header shows)",
    "encoding": "encoding of the text, such as cp1252 or latin-1 (default utf-8)",
}
"""The options of a csv source and their meaning."""

ORDERS = {"dmy": "the day first", "mdy": "the month first"}
"""Orders of dates such as 03/04/2024."""

PARQUET_KEYS = {key: KEYS[key] for key in ("target", "drop", "test", "categories", "min_count", "dates", "impute")}
"""The options of a Parquet source."""
KEYS_OF = {"csv": KEYS, "parquet": PARQUET_KEYS}
TABLES = tuple(KEYS_OF)
"""The kinds of sources that are tables with names of columns."""

_SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|", "space": " "}
_DECIMALS = {"point": ".", "comma": ",", ".": ".", ",": ","}
_THOUSANDS = {"comma": ",", "point": ".", "space": " \u00a0\u202f", "apostrophe": "'’", ",": ",", ".": ".", "'": "'’"}
_IMPUTE = {"median": "median", "mean": "mean"}
_LIKE_AN_OPTION = re.compile(r",\s*([a-zA-Z_-]+)=")


@dataclass(frozen=True)
class CsvOptions:
    """Options of a csv source; see ``KEYS``.

    Attributes
    ----------
    target : str
        As written: one column, or several separated by commas (see ``split_names``).
    drop : tuple of str
        As written, likewise.
    na : tuple of str or None
        None stands for ``cells.MISSING_WORDS``.
    categories : tuple of str
        As written, likewise.
    min_count : int
    dates : str
        "dmy", "mdy", or empty.
    impute : str
        "median" or "mean".
    kind : str
        Of the source, one of ``TABLES``.
    decimal, thousands, strip, sep, encoding, test : str
        ``sep`` and ``thousands`` hold the characters themselves; empty where the source does not say.
    part : FilePart or None
        The rows to read, by their place in the file, where it is read in parts (``parts.divide_file``).
    """

    target: str = ""
    drop: tuple[str, ...] = ()
    na: tuple[str, ...] | None = None
    categories: tuple[str, ...] = ()
    min_count: int = 2
    dates: str = ""
    impute: str = "median"
    decimal: str = "."
    thousands: str = ""
    strip: str = ""
    sep: str = ""
    encoding: str = ""
    test: str = ""
    kind: str = "csv"
    part: FilePart | None = None

    @property
    def format(self) -> CellFormat:
        """The notation of numbers."""
        missing = None if self.na is None else frozenset(self.na)
        return CellFormat(self.decimal, self.thousands, self.strip, missing)


def parse_csv_source(text: str, kind: str = "csv") -> tuple[str, CsvOptions]:
    """Split what follows ``csv:``, or ``parquet:``, into the path and the options.

    A value extends to the next ``,KEY=`` of a known key, so that paths and columns may hold commas. Where a path holds
    what looks like an option, the longest path that is a file is taken.

    Raises
    ------
    UserError
        If an option is unknown, given twice, or has a value that it cannot have.

    Examples
    --------
    >>> path, options = parse_csv_source("data, all.csv,target=price, net,drop=id,drop=name")
    >>> path, options.target, options.drop
    ('data, all.csv', 'price, net', ('id', 'name'))
    """
    path, given = split_options(text, KEYS_OF[kind])
    _check_path(path, kind)
    twice = [key for key, values in given.items() if len(values) > 1 and key not in ("drop", "categories")]
    if twice:
        raise UserError(f"{kind}:{text}: {twice[0]}= is given twice")
    return path, _options(given, kind)


def text_options(kind: str, sep: str = "", encoding: str = "") -> CsvOptions:
    """Return options with a separator and an encoding, as written; empty for those that the file shows."""
    given = {"sep": sep, "encoding": encoding}
    return _options({key: [value] for key, value in given.items() if value}, kind)


def split_names(value: str, columns: Iterable[str]) -> list[str]:
    """Split a value into column names, which may hold commas: the longest existing names are taken.

    Examples
    --------
    >>> split_names("a,b,c", ["a,b", "a", "b", "c"])
    ['a,b', 'c']
    """
    known, parts = set(columns), value.split(",")
    names, start = [], 0
    while start < len(parts):
        ends = [end for end in range(start + 1, len(parts) + 1) if ",".join(parts[start:end]).strip() in known]
        end = max(ends, default=start + 1)
        names.append(",".join(parts[start:end]).strip())
        start = end
    return [name for name in names if name]


def split_categories(value: str, columns: Iterable[str]) -> list[str]:
    """Split the value of categories= into column names, between which commas or plus signs stand.

    >>> split_categories("a+b,c+d", ["a", "b", "c+d"])
    ['a', 'b', 'c+d']
    """
    known, names = set(columns), []
    for name in split_names(value, known):
        names += [name] if name in known else [part.strip() for part in name.split("+")]
    return [name for name in names if name]


def hint_at_option(value: str) -> str:
    """Return " (did you mean the option drop=?)" if an invalid value holds a misspelled option."""
    for mark in _LIKE_AN_OPTION.finditer(f",{value}"):
        near = nearest(mark[1], KEYS)
        if near:
            return f" (did you mean the option {near}=?)"
    return ""


def _check_path(path: str, kind: str) -> None:
    """Raise UserError for a path that is a file only without its end, which looks like an unknown option."""
    if is_there(path):
        return
    known = KEYS_OF[kind]
    for mark in _LIKE_AN_OPTION.finditer(path):
        if is_there(path[: mark.start()]):
            raise UserError(
                f"{kind}:{path[: mark.start()]} has no option {mark[1]!r}{did_you_mean(mark[1], known)}, "
                f"only {', '.join(known)}"
            )


def _options(given: dict[str, list[str]], kind: str = "csv") -> CsvOptions:
    def value(key: str, default: str = "") -> str:
        return given.get(key, [default])[0]

    decimal = _choice(kind, "decimal", value("decimal", "."), _DECIMALS)
    thousands = _choice(kind, "thousands", value("thousands"), _THOUSANDS) if "thousands" in given else ""
    if decimal in thousands:
        raise UserError("csv: decimal= and thousands= name the same sign")
    sep = _SEPARATORS.get(value("sep"), value("sep"))
    if "sep" in given and (len(sep) != 1 or sep in '"\r\n' or sep.isalnum()):
        raise UserError(f"csv: sep={value('sep')} is no separator: it is one of {', '.join(_SEPARATORS)} or one sign")
    strip = "".join(value("strip").split())
    if any(mark.isalnum() or mark in "+-.," for mark in strip):
        raise UserError(f"csv: strip={strip} may hold signs only, such as $ or %, no letters, digits or + - . ,")
    _check_encoding(value("encoding", "utf-8"))
    na = tuple(word.strip() for word in value("na").split(",")) if "na" in given else None
    return CsvOptions(
        target=value("target"),
        drop=tuple(given.get("drop", ())),
        na=na,
        categories=tuple(given.get("categories", ())),
        min_count=_min_count(kind, value("min_count", "2")),
        dates=_choice(kind, "dates", value("dates"), {order: order for order in ORDERS}) if "dates" in given else "",
        impute=_choice(kind, "impute", value("impute", "median"), _IMPUTE),
        decimal=decimal,
        thousands=thousands,
        strip=strip,
        sep=sep,
        encoding=value("encoding"),
        test=value("test"),
        kind=kind,
    )


def _min_count(kind: str, text: str) -> int:
    if not (text.isdecimal() and text.isascii() and 0 < int(text) < 1 << 53):
        raise UserError(f"{kind}: min_count= is a number of rows, 1 or more, not {text!r}")
    return int(text)


def _choice(kind: str, key: str, value: str, choices: dict[str, str]) -> str:
    if value not in choices:
        words: Sequence[str] = [word for word in choices if word.isalpha()]
        raise UserError(f"{kind}: {key}= is one of {', '.join(words)}, not {value!r}")
    return choices[value]


def _check_encoding(name: str) -> None:
    try:
        is_text = codecs.lookup(name)._is_text_encoding
    except (LookupError, ValueError):
        is_text = False
    if not is_text:
        raise UserError(f"csv: there is no encoding {name!r}; common ones are utf-8, cp1252, latin-1 and utf-16")
