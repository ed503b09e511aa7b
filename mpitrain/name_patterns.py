"""Shell-style patterns of dotted names: those of parameters and of the layers that hold them."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from .errors import UserError
from .suggest import nearest

SHOWN = 8  # names in an error


def matches(pattern: str, name: str) -> bool:
    """Return whether a pattern matches ``name``, or the name of a layer that it is in.

    >>> [matches(pattern, "1.attention.qkv.weight") for pattern in ("1.*", "*.qkv", "*.weight", "qkv")]
    [True, True, True, False]
    """
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:length]), pattern) for length in range(1, len(parts) + 1))


def select(option: str, patterns: Sequence[str], names: Sequence[str], what: str = "parameter") -> list[str]:
    """Return those of ``names`` that some pattern matches.

    Raises
    ------
    UserError
        If a pattern matches none; near names are given.
    """
    for pattern in patterns:
        if not any(matches(pattern, name) for name in names):
            raise UserError(f"{option} {pattern!r} matches no {what} of the model; {_near(pattern, names)}")
    return [name for name in names if any(matches(pattern, name) for pattern in patterns)]


def _near(pattern: str, names: Sequence[str]) -> str:
    word = pattern.strip("*.?")
    if word and (near := nearest(word, _pieces(names))):
        return f"did you mean {pattern.replace(word, near)!r}?"
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"there are {', '.join(names[:SHOWN])}{more}"


def _pieces(names: Iterable[str]) -> list[str]:
    """Return all runs of parts of the names, in order: a pattern may begin and end with anything."""
    found = dict[str, None]()
    for name in names:
        parts = name.split(".")
        for first in range(len(parts)):
            found |= dict.fromkeys(".".join(parts[first:stop]) for stop in range(first + 1, len(parts) + 1))
    return list(found)
