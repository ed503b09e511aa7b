"""Shares of a batch by the measured speed of each rank (``--balance auto``): the decision, without any messages.

The own work of a rank takes ``fixed + each * n`` seconds for n samples. Steps end when the slowest rank has done its
own work, so the best shares are those for which all of it takes equally long. All ranks come to the same decision by
themselves from the same measurements: the arithmetic is that of Python's floats, alike on any machine.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from ..data.sampler import divide

LEAST_GAIN = 0.05
"""Part of a step by which it must become shorter for a change."""

CLEAR_GAIN = 0.2
"""Gain from which one window is enough; a smaller one must last for two."""

DEVIATIONS = 3.0
"""Standard errors of the measurement by which a gain must be larger than ``LEAST_GAIN``."""

NEW_SPEED = 0.25
"""Deviation from the expected time that means another speed, not noise."""

KEPT = 4
"""Windows from which the speed of a rank is taken."""

MOST_PATIENCE = 64
"""Windows for which a gain must last after several changes that brought too little, or were taken back soon."""

SOON = 16
"""Windows after a change in which taking it back means that it should not have been made."""


class Window(NamedTuple):
    """Measurements of a few steps, the same numbers on all ranks; each sequence has one for each rank.

    Attributes
    ----------
    amounts : sequence of float
        Samples of a step.
    seconds : sequence of float
        Time of a rank's own work in a step.
    errors : sequence of float
        Standard errors of ``seconds``, relative to them.
    most : sequence of float
        The most samples for which a rank has memory.
    step_seconds : float
        Time of a step.
    samples : int
        Whole samples of a step over all ranks (``amounts`` may count tokens, in units of the longest sample).
    """

    amounts: Sequence[float]
    seconds: Sequence[float]
    errors: Sequence[float]
    most: Sequence[float]
    step_seconds: float
    samples: int


@dataclass
class SpeedModel:
    """Time of one rank's own work, ``fixed + each * n`` seconds for n samples, from measurements at several n.

    As long as a rank has had one share only, nothing tells the two apart, and ``fixed`` is 0; after a change of the
    share it follows from a least-squares fit.

    Examples
    --------
    >>> model = SpeedModel()
    >>> for n in (100, 50):
    ...     model.observe(n, 1.0 + 0.01 * n)
    >>> round(model.fixed, 6), round(model.each, 6)
    (1.0, 0.01)
    """

    fixed: float = 0.0
    each: float = 0.0
    points: list[tuple[float, float]] = field(default_factory=list)

    def seconds(self, amount: float) -> float:
        """Return the time for ``amount`` samples."""
        return self.fixed + self.each * amount

    def observe(self, amount: float, seconds: float) -> None:
        """Take account of a measurement; one that does not fit the earlier ones means another speed."""
        before = (self.fixed, self.each) if self.points else (0.0, seconds / amount)
        self.points = [*self.points[1 - KEPT :], (amount, seconds)]
        self._fit(before)
        if abs(self.seconds(amount) - seconds) > NEW_SPEED * min(seconds, self.seconds(amount)):
            self.points = self.points[-1:]
            self._fit(before)

    def _fit(self, before: tuple[float, float]) -> None:
        """Fit the points; where they are too close together, scale the times that were expected before."""
        count = len(self.points)
        mean_n = math.fsum(n for n, _ in self.points) / count
        mean_t = math.fsum(t for _, t in self.points) / count
        if max(self.points)[0] > 1.2 * min(self.points)[0]:
            products = math.fsum((n - mean_n) * (t - mean_t) for n, t in self.points)
            slope = products / math.fsum((n - mean_n) ** 2 for n, _ in self.points)
            self.each = min(mean_t / mean_n, max(0.05 * mean_t / mean_n, slope))
            self.fixed = mean_t - self.each * mean_n
        else:
            factor = mean_t / (before[0] + before[1] * mean_n)
            self.fixed, self.each = before[0] * factor, before[1] * factor


@dataclass
class Change:
    """A change of the shares.

    Attributes
    ----------
    weights : tuple of float
        The new shares, with a sum of 1.
    before : tuple of float
        Those before.
    gain : float
        Part of a step by which it should become shorter.
    rank : int
        The rank whose share changes most, as a ratio.
    slowness : float
        Time of that rank's work on a sample, relative to the median of the others.
    limited : tuple of int
        Ranks that would take more if they had more memory.
    step_seconds : float
        Time of a step before.
    later : list of float
        Times of a step in the windows after it, at most ``KEPT``.
    """

    weights: tuple[float, ...]
    before: tuple[float, ...]
    gain: float
    rank: int
    slowness: float
    limited: tuple[int, ...]
    step_seconds: float
    later: list[float] = field(default_factory=list)

    @property
    def measured_gain(self) -> float | None:
        """Part of a step by which it became shorter; None as long as that is not known."""
        return 1 - median(self.later) / self.step_seconds if self.later else None

    def say(self, name_of: Callable[[int], str]) -> str:
        """Return the sentence for the user.

        Parameters
        ----------
        name_of : callable(int) -> str
            Name of a rank.
        """
        r = self.rank
        long = f"{self.slowness:.1f} times as long as the others'" if abs(self.slowness - 1) >= 0.05 else "equally long"
        limits = f"; memory limits {' and '.join(map(name_of, self.limited))}" if self.limited else ""
        return (
            f"{name_of(r)} takes {self.weights[r]:.0%} of each batch instead of {self.before[r]:.0%}: its work on a "
            f"sample takes {long}{limits}; steps should be {self.gain:.0%} shorter"
        )


class Balancer:
    """Decides when the shares of the ranks change, and to what.

    A change must make steps shorter by more than ``LEAST_GAIN`` and by more than noise explains. One that did not bring
    half of what it promised, or is soon taken back, doubles the time for which the next promise must last. So there are
    few changes where speeds come and go, as on shared cores.

    Parameters
    ----------
    num_ranks : int

    Attributes
    ----------
    changes : list of Change
    """

    def __init__(self, num_ranks: int):
        self._models = [SpeedModel() for _ in range(num_ranks)]
        self.changes: list[Change] = []
        self._patience, self._lasted, self._since = 1, 0, 0

    def observe(self, window: Window) -> Change | None:
        """Return the change that follows from a window of steps with the present shares; None to leave them."""
        self._since += 1
        self._judge_last(window.step_seconds)
        if min(window.amounts) <= 0 or min(window.seconds) <= 0:  # fewer samples than ranks
            return None
        for model, amount, seconds in zip(self._models, window.amounts, window.seconds, strict=True):
            model.observe(amount, seconds)
        change = self._best(window)
        if change is None:
            self._lasted = 0
            return None
        self._lasted += 1
        if self._lasted < max(self._patience, 1 if change.gain > CLEAR_GAIN else 2):
            return None
        if self.changes:
            takes_back = _distance(change.weights, self.changes[-1].before) < _distance(change.weights, change.before)
            self._be_patient(takes_back and self._since <= SOON)
        self._lasted = self._since = 0
        self.changes.append(change)
        return change

    def _judge_last(self, step_seconds: float) -> None:
        """Compare the promise of the last change with what came."""
        if not self.changes or len(self.changes[-1].later) == KEPT:
            return
        last = self.changes[-1]
        last.later.append(step_seconds)
        if len(last.later) == 2:
            gain = last.measured_gain
            if gain is not None and gain < last.gain / 2:
                self._be_patient(True)

    def _be_patient(self, more: bool) -> None:
        """Be more patient, or less."""
        self._patience = min(MOST_PATIENCE, 2 * self._patience) if more else max(1, self._patience // 2)

    def _best(self, window: Window) -> Change | None:
        """Return the best shares if they are worth a change."""
        models, amounts = self._models, window.amounts
        total = math.fsum(amounts)
        now = max(model.seconds(n) for model, n in zip(models, amounts, strict=True))
        points = min(len(model.points) for model in models)
        slowest = max(range(len(amounts)), key=lambda r: models[r].seconds(amounts[r]))
        others = math.fsum(window.errors) / len(amounts) ** 1.5  # the best time is a mean over the ranks
        noise = now * (window.errors[slowest] + others) / math.sqrt(points)
        needed = LEAST_GAIN * window.step_seconds + DEVIATIONS * noise
        rates = math.fsum(1 / model.each for model in models)
        if now - (total + math.fsum(model.fixed / model.each for model in models)) / rates <= needed:
            return None  # not even without the limits of whole samples and of memory
        sample = total / window.samples
        parts = level(models, total, sample, [max(n, most) for n, most in zip(amounts, window.most, strict=True)])
        whole = [sample * number for number in divide(window.samples, parts)]
        gain = now - max(model.seconds(n) for model, n in zip(models, whole, strict=True))
        if gain <= needed:
            return None
        before, after = tuple(n / total for n in amounts), tuple(n / total for n in parts)
        rank = max(range(len(after)), key=lambda r: max(after[r] / before[r], before[r] / after[r]))
        each = [model.seconds(n) / n for model, n in zip(models, amounts, strict=True)]
        slowness = each[rank] / median([*each[:rank], *each[rank + 1 :]])
        limited = tuple(r for r, most in enumerate(window.most) if amounts[r] < parts[r] and parts[r] >= most)
        return Change(after, before, gain / window.step_seconds, rank, slowness, limited, window.step_seconds)


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(abs(a - b) for a, b in zip(one, other, strict=True))


def level(models: Sequence[SpeedModel], total: float, least: float, most: Sequence[float]) -> list[float]:
    """Return amounts with the sum ``total`` for which the slowest rank is as fast as can be.

    All ranks take equally long, but for those that have ``least`` or their ``most``.

    Examples
    --------
    >>> models = [SpeedModel(0.0, 1.0), SpeedModel(2.0, 1.0), SpeedModel(0.0, 3.0)]
    >>> [round(n, 6) for n in level(models, 12, 1, [20, 20, 20])], level(models, 12, 1, [6.0, 20, 20])[0]
    ([6.0, 4.0, 2.0], 6.0)
    """

    def amounts(seconds: float) -> list[float]:
        pairs = zip(models, most, strict=True)
        return [min(top, max(least, (seconds - model.fixed) / model.each)) for model, top in pairs]

    low, high = 0.0, max(model.seconds(total) for model in models)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.fsum(amounts(middle)) < total else (low, middle)
    found = amounts(high)
    scale = total / math.fsum(found)
    return [n * scale for n in found] if abs(scale - 1) > 1e-9 else found
