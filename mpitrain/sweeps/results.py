"""Results of a sweep: the trials from the best to the worst, and means over folds and seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from .plan import Trial
from .state import FAILED, SweepState, TrialState


@dataclass(frozen=True)
class Row:
    """A trial and what has become of it."""

    trial: Trial
    state: TrialState

    @property
    def values(self) -> Mapping[str, Any]:
        """The values of the parameters, as they were last."""
        return self.trial.values if self.state.values is None else self.state.values

    @property
    def has_value(self) -> bool:
        """True if it has a value of the objective that counts."""
        return self.state.status != FAILED and not math.isnan(self.state.value)


@dataclass(frozen=True)
class Mean:
    """The trials of one point, which differ in fold or seed.

    Attributes
    ----------
    point : int
    values : mapping
    count, done : int
        Number of trials, and of those that have a value.
    mean, deviation : float
        Mean and sample standard deviation of the values; NaN without any, and with less than two.
    """

    point: int
    values: Mapping[str, Any]
    count: int
    done: int
    mean: float
    deviation: float


def rows_of(trials: Sequence[Trial], state: SweepState) -> list[Row]:
    """Return the trials with the best first, then those without a value."""
    rows = [Row(trial, state.trials[trial.number]) for trial in trials]

    def key(row: Row) -> tuple[bool, float, int]:
        return not row.has_value, -state.better(row.state.value) if row.has_value else 0.0, row.trial.number

    return sorted(rows, key=key)


def means_of(trials: Sequence[Trial], state: SweepState) -> list[Mean]:
    """Return the means of all points, the best first; those where a trial has no value come last."""
    points: dict[int, list[Row]] = {}
    for trial in trials:
        points.setdefault(trial.point, []).append(Row(trial, state.trials[trial.number]))
    found = []
    for point, rows in points.items():
        values = [row.state.value for row in rows if row.has_value]
        mean = fmean(values) if values else math.nan
        deviation = stdev(values) if len(values) > 1 else math.nan
        found.append(Mean(point, rows[0].values, len(rows), len(values), mean, deviation))
    return sorted(found, key=lambda one: (one.done < one.count, not one.done, -state.better(one.mean), one.point))


def best_so_far(trials: Sequence[Trial], state: SweepState) -> list[tuple[float, float, int]]:
    """Return (seconds since the sweep began, best value, trial) for each trial that was the best when it ended."""
    ended = [row for row in rows_of(trials, state) if row.has_value and not math.isnan(row.state.ended)]
    found: list[tuple[float, float, int]] = []
    best = -math.inf
    for row in sorted(ended, key=lambda row: (row.state.ended, row.trial.number)):
        if state.better(row.state.value) > best:
            best = state.better(row.state.value)
            found.append((max(0.0, row.state.ended - state.began), row.state.value, row.trial.number))
    return found
