"""Algorithms by name: ``ring``, ``pipelined_ring:segments=8``, ``all_gather/bruck``, ``FILE.py:FUNC``."""

import importlib
import re
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..registry import FILE
from .algorithm import Algorithm, make_algorithm, options_of
from .load import load

COLLECTIVES = (
    "all_reduce",
    "reduce_scatter",
    "all_gather",
    "broadcast",
    "reduce",
    "all_to_all",
    "halo_exchange",
    "scatter",
    "gather",
    "barrier",
    "scan",
)


def names(collective: str = "all_reduce") -> tuple[str, ...]:
    """Return the names of the algorithms of a collective, with the collective's name except for all_reduce."""
    found = tuple(_package(collective).__all__)
    return found if collective == "all_reduce" else tuple(f"{collective}/{name}" for name in found)


def find(text: str) -> Algorithm:
    """Return the algorithm with the name ``text``.

    Parameters
    ----------
    text : str
        A name of ``names()``, or FILE.py:FUNC for a generator function f(rank, size) in a user's file; both may be
        followed by options, ``:key=value,key=value``.

    Raises
    ------
    UserError
        If there is no such algorithm or option.

    Examples
    --------
    >>> find("pipelined_ring:segments=8").num_chunks(4)
    32
    """
    file = FILE.match(text)
    if file:
        path, name, rest = file.groups()
        function = load(Path(path), name)
        algorithm = make_algorithm(function, text, **_parse(rest or "", name, options_of(function)))
        if algorithm.collective not in COLLECTIVES:
            raise UserError(f"{text} is of {algorithm.collective!r}, but there are {', '.join(COLLECTIVES)}")
        return algorithm
    if text.endswith(".py") or ".py:" in text:
        raise UserError(f"an algorithm of your own is FILE.py:FUNC, with the name of a function, not {text!r}")
    path, _, rest = text.partition(":")
    collective, _, name = path.rpartition("/")
    collective = collective or "all_reduce"
    if collective not in COLLECTIVES:
        raise UserError(f"there is no collective {collective!r}; there are {', '.join(COLLECTIVES)}")
    if name not in _package(collective).__all__:
        kind = collective.replace("all_reduce", "all-reduce")
        raise UserError(f"there is no {kind} {name!r}; there are {', '.join(names(collective))}, and FILE.py:FUNC")
    function = getattr(_package(collective), name)
    algorithm = make_algorithm(function, text, **_parse(rest, name, options_of(function)))
    algorithm.num_chunks(1)  # raises errors in options that name algorithms
    return algorithm


def _package(collective: str) -> Any:
    return importlib.import_module(f".{collective}", __package__)


def _parse(text: str, name: str, defaults: dict[str, Any]) -> dict[str, Any]:
    """Parse options ``a=1,b=ring``; a value with options of its own is written b=chain(segments=2)."""
    options: dict[str, Any] = {}
    for part in re.split(r",(?![^(]*\))", text) if text else []:
        key, equals, value = part.partition("=")
        if not equals or key not in defaults:
            there = f"it has {', '.join(defaults)}" if defaults else "it has none"
            raise UserError(f"{name} has no option {part!r}; {there}" + (" (key=value)" if defaults else ""))
        options[key] = re.sub(r"\((.*)\)$", r":\1", value)
        if isinstance(defaults[key], int):
            least = 0 if key == "root" else 1
            if not value.isdecimal() or int(value) < least:
                raise UserError(f"{name}: {key} is {value!r}, but must be a whole number from {least}")
            options[key] = int(value)
    return options
