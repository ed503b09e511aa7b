"""Ranks of some axes on the levels of a machine. Ranks fill the machine in order, the innermost axis first."""

from collections.abc import Sequence
from dataclasses import dataclass

from .machine import Level
from .strategy import ORDER, Strategy


@dataclass(frozen=True)
class Placed:
    """The ranks of a group on the levels of a machine.

    Attributes
    ----------
    size : int
    within : tuple of int
        Members within one container of each level: they never fall, and the last is ``size``.
    """

    size: int
    within: tuple[int, ...]

    @property
    def steps(self) -> tuple[int, ...]:
        """Parts of a container of each level that have members: the product is ``size``."""
        before = (1, *self.within[:-1])
        return tuple(max(1, round(now / inner)) for now, inner in zip(self.within, before, strict=True))

    @property
    def innermost(self) -> int:
        """The first level that has several members; the last for a group of one."""
        return next((place for place, count in enumerate(self.within) if count > 1), len(self.within) - 1)

    @property
    def outermost(self) -> int:
        """The level whose links join all members."""
        return next(place for place, count in enumerate(self.within) if count >= self.size)


def place(strategy: Strategy, axes: Sequence[str], levels: Sequence[Level]) -> Placed:
    """Return where the ranks that differ in their places on ``axes`` lie.

    >>> from mpitrain.planning import Level
    >>> node, net = Level("node", 8, 0, 1, 1), Level("net", 0, 0, 1, 1)
    >>> place(Strategy(data=4, tensor=4), ["data"], [node, net])
    Placed(size=4, within=(2, 4))
    """
    used = [axis for axis in reversed(ORDER) if axis in axes and getattr(strategy, axis) > 1]
    size = 1
    for axis in used:
        size *= getattr(strategy, axis)
    within = []
    for level in levels:
        count = 1
        for axis in used:
            stride, number = strategy.stride(axis), getattr(strategy, axis)
            count *= number if not level.ranks else max(1, min(number, level.ranks // stride))
        within.append(count)
    within[-1] = size  # the outermost level holds all of them
    return Placed(size, tuple(within))


def level_between(distance: int, levels: Sequence[Level]) -> Level:
    """Return the level of most messages between ranks that are ``distance`` apart."""
    return next((level for level in levels if not level.ranks or level.ranks > distance), levels[-1])
