"""Cuts of a row of units into stages that follow each other, with the slowest as fast as can be.

The least time T of the slowest stage is found by halving; for one T a stage takes units as long as they fit. Of all
cuts with that T, boundaries are taken as near as can be to equal shares, so that no stage is needlessly large.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

ROUNDS = 40


def cut_evenly(costs: Sequence[float], stages: int) -> list[int]:
    """Return the first unit of each stage.

    >>> cut_evenly([1, 1, 1, 3], 2), cut_evenly([5, 1, 1, 1], 3)
    ([0, 3], [0, 1, 2])
    """
    number = len(costs)
    if not 1 <= stages <= number:
        raise ValueError(f"{number} units cannot be cut into {stages} stages")
    ends = [0.0, *accumulate(costs)]
    low, high = max(max(costs), ends[-1] / stages), ends[-1]
    if _reaches(ends, stages, low):
        high = low
    for _ in range(ROUNDS):
        if high - low <= 1e-6 * high:
            break
        middle = (low + high) / 2
        low, high = (low, middle) if _reaches(ends, stages, middle) else (middle, high)
    return _near_equal(ends, stages, high * (1 + 1e-9))


def _reaches(ends: Sequence[float], stages: int, most: float) -> bool:
    """Return whether stages of at most ``most`` reach the end."""
    place = 0
    for _ in range(stages):
        place = bisect_right(ends, ends[place] + most) - 1
        if place == len(ends) - 1:
            return True
    return False


def _near_equal(ends: Sequence[float], stages: int, most: float) -> list[int]:
    number = len(ends) - 1
    earliest = [0] * (stages + 1)  # begin of stage k from which the rest reaches the end
    earliest[stages] = number
    for k in range(stages - 1, 0, -1):
        begin = earliest[k + 1]
        while begin > 0 and ends[earliest[k + 1]] - ends[begin - 1] <= most:
            begin -= 1
        earliest[k] = begin
    starts = [0]
    for k in range(1, stages):
        last = bisect_right(ends, ends[starts[-1]] + most) - 1
        first = max(earliest[k], starts[-1] + 1)
        last = max(first, min(last, number - (stages - k)))
        wanted = ends[starts[-1]] + (ends[-1] - ends[starts[-1]]) / (stages - k + 1)
        starts.append(min(range(first, last + 1), key=lambda place: abs(ends[place] - wanted)))
    return starts
