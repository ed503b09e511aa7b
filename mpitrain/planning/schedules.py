"""Step times and memory of pipeline schedules: closed formulas for the search, the schedules themselves to decide.

    1f1b, gpipe        M t + (P - 1) t                     holds min(M, P - r) or M microbatches
    interleaved        M t + (P - 1) t / V                 holds about P (1 + (P - 1) / (P V))
    zb_h1              M t + (P - 1) (t_F + t_dx - t_dw)   holds P

with t the time of a microbatch on the slowest rank (Narayanan et al. 2021, arXiv 2104.04473; Qi et al. 2024, arXiv
2401.10241).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..errors import ScheduleError, UserError
from ..pipelines import Program, find, make_program, simulate
from .compute import Times

MOST_TASKS = 12_000
"""Tasks of all ranks up to which a program is followed; longer steps are extrapolated from shorter ones."""

AHEAD = 2  # messages that a rank receives before it uses them


@dataclass(frozen=True)
class Held:
    """Microbatches of each stage that are kept at most, and those past B whose W is to come."""

    held: tuple[float, ...]
    late: tuple[float, ...]


def names_of(schedule: str, chunks: int) -> str:
    """Return the name for ``pipelines.find``."""
    return f"{schedule}:chunks={chunks}" if chunks > 1 else schedule


def quick_step(schedule: str, chunks: int, m: int, stages: Sequence[Times], message: float) -> float:
    """Return the time of a step by the formula.

    Parameters
    ----------
    stages : sequence of Times
        Of one microbatch on each rank, with all of its stages.
    message : float
        Time of one message between neighbors.
    """
    size = len(stages)
    slowest = max(stages, key=lambda one: one.all)
    if size == 1:
        return m * slowest.all
    others = sum(one.all for one in stages) - slowest.all
    if schedule == "zb_h1":
        others = min(others, (size - 1) * max(0.0, slowest.forward + slowest.dx - slowest.dw))
    elif chunks > 1:
        others /= chunks
    return m * slowest.all + others + 2 * (size - 1) * message


def quick_held(schedule: str, chunks: int, size: int, m: int) -> Held:
    """Return the microbatches of each stage that are kept, by the formula; stages of rank r are r, r + P, ..."""
    stages = size * chunks
    if schedule == "gpipe":
        held = [float(m)] * stages
    elif schedule == "zb_h1":
        held = [float(min(m, size))] * stages
    elif chunks > 1:  # the warm-up of rank r has 2 (P - r - 1) + (V - 1) P chunks, and one more is computed
        each = [min(m * chunks, 2 * (size - rank - 1) + (chunks - 1) * size + 1) / chunks for rank in range(size)]
        held = [each[stage % size] for stage in range(stages)]
    else:
        held = [float(min(m, size - rank)) for rank in range(size)]
    late = [float(min(m, 1 + rank)) if schedule == "zb_h1" else 0.0 for rank in range(stages)]
    return Held(tuple(held), tuple(late))


@lru_cache(maxsize=256)
def program_of(schedule: str, chunks: int, size: int, m: int) -> Program | None:
    """Return a program; None if there is none."""
    try:
        name = names_of(schedule, chunks)
        return make_program(find(name), size, m, name)
    except (ScheduleError, UserError):
        return None


@lru_cache(maxsize=256)
def exact_held(schedule: str, chunks: int, size: int, m: int) -> Held | None:
    """Return the microbatches of each stage that are kept, counted in the tasks; None if there is no such program."""
    program = program_of(schedule, chunks, size, m)
    if program is None:
        return None
    held, late = [], []
    for stage, rank in enumerate(program.rank_of):
        kinds = [task.kind for task in program.tasks[rank] if task.stage == stage]
        held.append(float(_peak(kinds, "F", "W" if program.is_split else "B")))
        late.append(float(_peak(kinds, "B", "W")) if program.is_split else 0.0)
    return Held(tuple(held), tuple(late))


def _peak(kinds: Sequence[str], begin: str, end: str) -> int:
    now = most = 0
    for kind in kinds:
        now += (kind == begin) - (kind == end)
        most = max(most, now)
    return most


def exact_step(
    schedule: str, chunks: int, size: int, m: int, stages: Sequence[Times], link: tuple[float, float]
) -> float | None:
    """Return the time of a step by simulation of the schedule; None if there is no such program.

    Parameters
    ----------
    stages : sequence of Times
        Of one microbatch on each of the P V stages, in the order of the model.
    link : (float, float)
        Latency of a message, and the time for which it keeps the link busy.

    Notes
    -----
    A step that has too many tasks is a line in M: followed for two smaller numbers of microbatches.
    """
    few = max(2 * size, min(m, MOST_TASKS // (2 * size * chunks)) // size * size)
    if m <= few:
        return _simulate(schedule, chunks, size, m, stages, link)
    long = _simulate(schedule, chunks, size, few, stages, link)
    short = _simulate(schedule, chunks, size, few - size, stages, link)
    if long is None or short is None:
        return None
    return long + (m - few) * (long - short) / size


def _simulate(
    schedule: str, chunks: int, size: int, m: int, stages: Sequence[Times], link: tuple[float, float]
) -> float | None:
    program = program_of(schedule, chunks, size, m)
    if program is None or program.num_stages != len(stages):
        return None
    split = program.is_split
    cost = {
        "F": [one.forward for one in stages],
        "B": [one.dx if split else one.dx + one.dw for one in stages],
        "W": [one.dw for one in stages],
    }
    durations = [[cost[task.kind][task.stage] for task in own] for own in program.tasks]
    try:
        return simulate(program, durations, lambda sender, receiver: link).total
    except ScheduleError:
        return None
