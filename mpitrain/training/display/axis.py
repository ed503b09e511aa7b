"""Axes of charts: ranges that end on round numbers, ticks, and tick labels."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

STEPS = (1, 2, 5, 10)
NEAR_ZERO = 0.3  # a range that begins below this share of its end begins at zero


@dataclass(frozen=True)
class Axis:
    """A linear scale from values to pixels.

    Parameters
    ----------
    low, high : float
        Values at the ends.
    begin, end : float
        Pixels at the ends.
    ticks : tuple of float
    """

    low: float
    high: float
    begin: float
    end: float
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        """Return the pixel of ``value``."""
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)


def value_axis(values: Iterable[float], begin: float, end: float, *, percent: bool = False) -> Axis:
    """Return an axis that holds all finite ``values``; of percentages none below 0 or above 1."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if 0 < low < NEAR_ZERO * high:
        low = 0.0
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        margin = 0.1 * abs(high) or 1.0
        low, high = low - margin, high + margin
        if percent:
            low, high = max(low, 0.0), min(high, 1.0)
    step = tick_step(high - low, 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(number * step for number in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], begin, end, ticks)


def epoch_axis(first: int, last: int, begin: float, end: float) -> Axis:
    """Return an axis of whole numbers from ``first`` to ``last``; a single one is in the middle."""
    step = max(1, round(tick_step(last - first, 8))) if last > first else 1
    ticks = tuple(float(epoch) for epoch in range(-(-first // step) * step, last + 1, step))
    low, high = (first, last) if last > first else (first - 1, last + 1)
    return Axis(low, high, begin, end, ticks)


def tick_step(extent: float, count: int) -> float:
    """Return the least of 1, 2 or 5 times a power of ten that cuts ``extent`` into at most ``count`` steps.

    >>> tick_step(1.93, 5), tick_step(9, 8), tick_step(0.04, 5)
    (0.5, 2.0, 0.01)
    """
    power = math.floor(math.log10(extent / count))
    factor = next(f for f in STEPS if f * 10.0**power * count >= extent * (1 - 1e-9))
    return float(f"{factor}e{power}")


def tick_labels(ticks: tuple[float, ...], *, percent: bool = False) -> list[str]:
    """Return the ticks as text, all with as many decimals as their distance asks for.

    >>> tick_labels((0.0, 0.5, 1.0)), tick_labels((0.9, 0.95, 1.0), percent=True), tick_labels((0.0, 2e9))
    (['0.0', '0.5', '1.0'], ['90%', '95%', '100%'], ['0', '2e+09'])
    """
    step = min((b - a for a, b in itertools.pairwise(ticks)), default=1.0)
    biggest = max(map(abs, ticks))
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if percent:
        return [f"{tick:.{max(0, decimals - 2)}%}" for tick in ticks]
    if biggest < 1e6 and decimals <= 4:
        return [f"{tick:,.{decimals}f}" for tick in ticks]
    digits = math.ceil(math.log10(biggest / step) + 1e-9) + 1
    return [f"{0.0 if abs(tick) < step / 2 else tick:.{digits}g}" for tick in ticks]
