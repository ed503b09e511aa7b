"""The grammar of the options of a source: ``PLACE,key=value,key=value``."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


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
