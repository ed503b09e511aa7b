"""The grammar of the options of a source: ``PLACE,key=value,key=value``."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import UserError
from ..suggest import did_you_mean

SET_KEYS = {
    "cifar100": {"labels": "fine (100 classes, the default) or coarse (20)"},
    "emnist": {"split": "balanced (the default), byclass, bymerge, letters, digits or mnist"},
}
"""The options of known sets of images, and their meaning."""
ARRAY_KEYS = {
    "hdf5": {
        "x": "dataset of the samples (by default found by its name)",
        "y": "dataset of the targets",
        "x_test": "dataset of the samples to test on",
        "y_test": "dataset of the targets to test on",
    }
}
"""The options of files of arrays, and their meaning."""
ARRAYS = ("npz", "npy", "hdf5")
"""The kinds of sources that hold named arrays."""


def split_options(text: str, keys: Iterable[str]) -> tuple[str, dict[str, list[str]]]:
    """Split what follows ``KIND:`` into the path and the values of each option as written, unchecked.

    A value extends to the next ``,KEY=`` of a known key, so that paths and columns may hold commas. Where a path holds
    what looks like an option, the longest path that exists is taken.

    Examples
    --------
    >>> split_options("a, b.txt,window=128", ["window"])
    ('a, b.txt', {'window': ['128']})
    """
    marks = list(re.finditer(rf",({'|'.join(keys)})=", text))
    paths = [text[: mark.start()] for mark in marks] + [text]
    first = next((k for k in reversed(range(len(paths))) if is_there(paths[k])), 0)
    path, marks = paths[first], marks[first:]
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    given: dict[str, list[str]] = {}
    for mark, end in zip(marks, ends):
        given.setdefault(mark[1], []).append(text[mark.end() : end].strip(None if mark[1] != "sep" else "\n"))
    return path, given


def join_options(path: str, given: Mapping[str, Sequence[str]]) -> str:
    """Join a path and options: the inverse of ``split_options``."""
    return path + "".join(f",{key}={value}" for key, values in given.items() for value in values)


def is_there(path: str) -> bool:
    """Return whether there is a file or directory of that name."""
    try:
        return bool(path) and Path(path).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # a name too long, a NUL, no home directory
        return False


def given_once(kind: str, text: str, given: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the only value of each option; raises UserError for an option that is given twice."""
    for key, values in given.items():
        if len(values) > 1:
            raise UserError(f"{kind}:{text}: {key}= is given twice")
    return {key: values[0] for key, values in given.items()}


def check_place(kind: str, place: str, known: Mapping[str, str]) -> None:
    """Raise a UserError if a path that does not exist ends in an unknown option."""
    path, comma, option = place.partition(",")
    key = option.partition("=")[0].strip()
    if comma and "=" in option and not is_there(place) and is_there(path):
        raise UserError(f"{kind}:{path} has no option {key!r}{did_you_mean(key, known)}, only {', '.join(known)}")


def whole_number(kind: str, given: Mapping[str, str], key: str, default: int, least: int, most: int) -> int:
    """Return the value of an option as an integer in a range; raises UserError for another value."""
    text = given.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise UserError(f"{kind}: {key}={text} must be a whole number from {least} to {most:,}")
    return int(text)


def one_of(kind: str, given: Mapping[str, str], key: str, choices: Sequence[str]) -> str:
    """Return the value of an option that is one of ``choices``, by default the first; raises UserError for another."""
    text = given.get(key, choices[0])
    if text not in choices:
        raise UserError(f"{kind}: {key}={text} must be {', '.join(choices[:-1])} or {choices[-1]}")
    return text
