"""Parameters of a sweep: lists of values and ranges of numbers, from their tables in TOML."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError
from ..suggest import suggest

Values = Mapping[str, Any]
KEYS = ("values", "min", "max", "log", "points", "when")


@dataclass(frozen=True)
class Parameter:
    """A list of values, or a range of numbers.

    Attributes
    ----------
    name : str
    values : tuple
        The values of a list; empty for a range.
    low, high : float
        The ends of a range, both of them included.
    log : bool
        Draw the logarithm uniformly, not the number itself.
    integer : bool
        The range has whole numbers only.
    points : int
        Values of the range in a grid; 0 if it has not said.
    when : dict
        Values that other parameters must have, one of a list each; otherwise the parameter is left out.
    """

    name: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    integer: bool = False
    points: int = 0
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def is_range(self) -> bool:
        """True for a range of numbers, False for a list of values."""
        return not self.values

    def at(self, share: float) -> Any:
        """Return the value at a place between 0 (the first) and 1.

        A list and whole numbers are divided into equal parts; on a logarithmic scale whole numbers get the part of it
        from half below to half above each.

        >>> Parameter("lr", low=0.001, high=1.0, log=True).at(1 / 3)
        0.01
        >>> [Parameter("n", low=1, high=3, integer=True).at(share) for share in (0.0, 0.34, 0.99)]
        [1, 2, 3]
        """
        if self.values:
            return self.values[min(int(share * len(self.values)), len(self.values) - 1)]
        half = 0.5 if self.integer else 0.0
        low, high = self.low - half, self.high + half
        if self.log:
            value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            value = low + share * (high - low)
        return self.fit(value)

    def fit(self, value: float) -> float:
        """Return the number of the range that is nearest to ``value``, with six digits: it will be typed again."""
        value = min(max(value, self.low), self.high)
        return round(value) if self.integer else float(f"{value:.6g}")

    def grid(self) -> list[Any]:
        """Return the values of a grid.

        Raises
        ------
        UserError
            For a range without ``points``.
        """
        if self.values:
            return list(self.values)
        if not self.points:
            raise UserError(f"a grid needs the number of values of {self.name}: points = N, or a list of values")
        places = [i / max(1, self.points - 1) for i in range(self.points)]
        span = math.log(self.high / self.low) if self.log else self.high - self.low
        found = [self.low * math.exp(p * span) if self.log else self.low + p * span for p in places]
        return list(dict.fromkeys(self.fit(value) for value in found))

    def applies(self, values: Values) -> bool:
        """Return whether the parameter is used where others have these ``values``."""
        return all(name in values and values[name] in wanted for name, wanted in self.when.items())


def parse_parameter(name: str, given: Any, where: str) -> Parameter:
    """Return the parameter of a list, or of a table ``{min, max, log, points}`` or ``{values, when}``.

    Raises
    ------
    UserError
        For anything else, in one sentence that begins with ``where``.
    """
    what = f"{where}: the parameter {name}"
    if isinstance(given, list):
        given = {"values": given}
    if not isinstance(given, dict):
        raise UserError(f"{what} is {given!r}, but must be a list of values or a table {{min = A, max = B}}")
    for key in given:
        if key not in KEYS:
            raise UserError(f"{what} has the unknown key {key}; {suggest(key, KEYS)}")
    when = _conditions(given.get("when", {}), what)
    if "values" in given:
        rest = sorted(set(given) - {"values", "when"})
        if rest:
            raise UserError(f"{what} has values and {rest[0]}: a list has no range")
        return Parameter(name, tuple(_list_of(given["values"], what)), when=when)
    return _range(name, given, what, when)


def _list_of(given: Any, what: str) -> Sequence[Any]:
    if not isinstance(given, list) or not given:
        raise UserError(f"{what} needs a list of at least one value")
    found = [tuple(value) if isinstance(value, list) else value for value in given]
    if any(isinstance(value, dict) for value in found):
        raise UserError(f"{what} has a table among its values")
    if len(set(map(repr, found))) < len(found):
        raise UserError(f"{what} has the same value twice")
    return found


def _conditions(given: Any, what: str) -> dict[str, tuple[Any, ...]]:
    if not isinstance(given, dict):
        raise UserError(f"{what}: when is {given!r}, but must be a table, as in when = {{optimizer = ['adam']}}")
    return {name: tuple(one) if isinstance(one, list) else (one,) for name, one in given.items()}


def _range(name: str, given: Mapping[str, Any], what: str, when: Mapping[str, tuple[Any, ...]]) -> Parameter:
    for key in ("min", "max"):
        if key not in given:
            raise UserError(f"{what} needs {key}, or a list of values")
        if type(given[key]) not in (int, float) or not math.isfinite(given[key]):
            raise UserError(f"{what}: {key} is {given[key]!r}, but must be a number")
    low, high, log, points = given["min"], given["max"], given.get("log", False), given.get("points", 0)
    if type(log) is not bool:
        raise UserError(f"{what}: log is {log!r}, but must be true or false")
    if type(points) is not int or points < 0:
        raise UserError(f"{what}: points is {points!r}, but must be a whole number from 1 on")
    if low >= high:
        raise UserError(f"{what}: min is {low:g}, but must be below max, {high:g}")
    if log and low <= 0:
        raise UserError(f"{what}: min is {low:g}, but must be above 0 on a logarithmic scale")
    whole = type(low) is int and type(high) is int
    return Parameter(name, (), low, high, log, whole, points, when)
