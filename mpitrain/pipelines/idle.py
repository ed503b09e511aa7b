"""Causes of idle time: the schedule itself, uneven stages, or messages.

The causes are those of three runs of the same program, compared gap by gap (the gap before a task, and that after the
last one of a rank):

    dependency  idle where all tasks of a kind take equally long and messages no time: the schedule's own bubble
    imbalance   idle on top of that with the actual times of tasks: a rank waits for a slower stage
    message     the rest: waiting for messages, and for ranks that have waited for them
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from .program import Program
from .simulate import Durations, Timeline, simulate

CAUSES = ("dependency", "imbalance", "message")
SHORTEST = 1e-9  # of the total: shorter gaps are rounding


class Idle(NamedTuple):
    """An interval in which a rank is idle, for one cause.

    Attributes
    ----------
    rank : int
    begin, end : float
    cause : str
        One of ``CAUSES``.
    """

    rank: int
    begin: float
    end: float
    cause: str


def find_idle(timeline: Timeline, durations: Durations) -> list[list[Idle]]:
    """Return the idle intervals of each rank, in order.

    Parameters
    ----------
    timeline : Timeline
        A simulated or recorded run.
    durations : sequence of sequence of float
        The times of its tasks.
    """
    program = timeline.program
    bare = [simulate(program, costs, partial=True) for costs in (balanced(program, durations), durations)]
    least = SHORTEST * timeline.total
    found: list[list[Idle]] = []
    for rank in range(program.size):
        own: list[Idle] = []
        even, uneven, actual = (list(_gaps(run, rank)) for run in (*bare, timeline))
        for (_, structural), (_, alone), (begin, gap) in zip(even, uneven, actual, strict=True):
            dependency = min(gap, structural)
            imbalance = min(gap - dependency, max(0.0, alone - structural))
            for cause, length in zip(CAUSES, (dependency, imbalance, gap - dependency - imbalance), strict=True):
                if length > least:
                    own.append(Idle(rank, begin, begin + length, cause))
                begin += length
        found.append(own)
    return found


def shares(idle: Iterable[Idle], time: float) -> dict[str, float]:
    """Return the part of ``time`` that is idle for each cause."""
    found = dict.fromkeys(CAUSES, 0.0)
    for one in idle:
        found[one.cause] += (one.end - one.begin) / time
    return found


def balanced(program: Program, durations: Durations) -> list[list[float]]:
    """Return the mean duration of its kind for each task."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for own, costs in zip(program.tasks, durations, strict=True):
        for task, cost in zip(own, costs, strict=True):
            sums[task.kind][0] += cost
            sums[task.kind][1] += 1
    return [[sums[task.kind][0] / sums[task.kind][1] for task in own] for own in program.tasks]


def _gaps(timeline: Timeline, rank: int) -> Iterable[tuple[float, float]]:
    """Yield begin and length of the gap before each task, and of that after the last one."""
    clock = timeline.first
    for begin, end in zip(timeline.begins[rank], timeline.ends[rank], strict=True):
        yield clock, max(0.0, begin - clock)
        clock = end
    yield clock, max(0.0, timeline.last - clock)
