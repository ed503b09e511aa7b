"""Facts that would lead to another choice: links of another bandwidth between nodes, and more memory.

The strategies that were followed, and those that are the best by formulas on faster and slower links, are priced on
links of many bandwidths: by formulas, times the ratio of both prices where they were followed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from .estimate import Estimate, Estimator
from .search import Found, seconds
from .strategy import Strategy

FARTHEST = 32.0
STEP = 2**0.5
PRECISE = 1.01
GAIN = 1.01  # another choice is one that is faster by so much
EXTRA = 6


@dataclass(frozen=True)
class Change:
    """Another choice.

    Attributes
    ----------
    fact : {"bandwidth", "memory"}
    value, now : float
        Bytes a second of the outermost links of a rank, or bytes of its memory, from which on (down from which, if it
        is less than now) the choice is another one.
    strategy : Strategy
    """

    fact: str
    value: float
    now: float
    strategy: Strategy


def find_changes(quick: Estimator, exact: Estimator, found: Found) -> list[Change]:
    """Return what would change the choice; nothing if no strategy fits."""
    if not found.best:
        return []
    best = found.best[0]
    made: list[Change] = []
    if found.faster is not None:
        made.append(Change("memory", found.faster.memory.all, quick.machine.memory, found.faster.strategy))
    if len(quick.machine.levels) > 1 or quick.machine.calibration is None:
        made += [change for way in (STEP, 1 / STEP) if (change := _other_links(quick, exact, found, best, way))]
    return made


def _other_links(quick: Estimator, exact: Estimator, found: Found, best: Estimate, way: float) -> Change | None:
    """Return the nearest bandwidth, above or below, from which on another mesh is the fastest."""
    now = quick.machine.levels[-1].bandwidth
    at_end = quick.on(quick.machine.scaled(bandwidth=FARTHEST if way > 1 else 1 / FARTHEST))
    extra = sorted((at_end.estimate(one) for one in found.others), key=seconds)[:EXTRA]
    followed = {one.strategy: one for one in found.candidates}
    followed |= {one.strategy: exact.estimate(one.strategy) for one in extra}
    fitting = [one for one in followed.values() if one.memory.all <= quick.machine.memory]
    ratios = {one.strategy: one.seconds / quick.estimate(one.strategy).seconds for one in fitting}

    def fastest(factor: float) -> Strategy:
        there = quick.on(quick.machine.scaled(bandwidth=factor))
        times = {one: there.estimate(one).seconds * ratio for one, ratio in ratios.items()}
        winner = min(times, key=times.__getitem__)
        own = min(time for one, time in times.items() if one.mesh == best.strategy.mesh)
        return winner if times[winner] * GAIN < own else best.strategy

    if fastest(1.0).mesh != best.strategy.mesh:  # alike, and not as simple
        return None
    last, factor = 1.0, way
    while 1 / FARTHEST <= factor <= FARTHEST:
        if fastest(factor).mesh != best.strategy.mesh:
            value = _between(lambda f: fastest(f).mesh != best.strategy.mesh, last, factor)
            return Change("bandwidth", now * value, now, fastest(value))
        last, factor = factor, factor * way
    return None


def _between(is_other: Callable[[float], bool], same: float, other: float) -> float:
    """Return the factor nearest to ``same`` at which ``is_other``."""
    while max(same / other, other / same) > PRECISE:
        middle = (same * other) ** 0.5
        same, other = (same, middle) if is_other(middle) else (middle, other)
    return other
