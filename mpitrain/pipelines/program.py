"""Programs: the tasks of all ranks for one P and M, complete and each on one rank.

A program is made from a schedule, or from the tasks of a recorded run. What cannot be seen here, whether ranks wait for
each other in a circle, is found by ``simulate``.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ..errors import ScheduleError
from .task import KINDS, Task


@dataclass(frozen=True)
class Program:
    """The tasks of all ranks.

    Attributes
    ----------
    name : str
    size, num_microbatches, num_stages : int
        P, M and S.
    tasks : list of list of Task
        ``tasks[rank]`` in the order of the rank.
    rank_of : list of int
        The rank of each stage.
    is_split : bool
        True if B is dx alone, and W is dw.
    lines : list of list of (int or None)
        Line of each task in a user's file, empty for other schedules.
    """

    name: str
    size: int
    num_microbatches: int
    num_stages: int
    tasks: list[list[Task]]
    rank_of: list[int]
    is_split: bool
    lines: list[list[int | None]] = field(default_factory=list)

    @functools.cached_property
    def stages_of(self) -> list[list[int]]:
        """Stages of each rank, in the order of the model."""
        found: list[list[int]] = [[] for _ in range(self.size)]
        for stage, rank in enumerate(self.rank_of):
            found[rank].append(stage)
        return found

    @property
    def is_in_order(self) -> bool:
        """True if each stage computes forward, and gradients of the weights, in the order of the microbatches."""
        last: dict[tuple[str, int], int] = {}
        writes = "W" if self.is_split else "B"
        for task in (task for own in self.tasks for task in own if task.kind in ("F", writes)):
            if last.get(task[:2], -1) > task.microbatch:
                return False
            last[task[:2]] = task.microbatch
        return True

    def where(self, rank: int, place: int) -> str:
        """Return the description of a task's place: rank, number and line."""
        line = self.lines[rank][place] if self.lines else None
        return f"rank {rank} of {self.size}, task {place}{f', line {line}' if line else ''}"

    def needs(self, task: Task) -> list[Task]:
        """Return the tasks whose results ``task`` needs."""
        kind, stage, microbatch = task
        if kind == "W":
            return [Task("B", stage, microbatch)]
        if kind == "F":
            return [Task("F", stage - 1, microbatch)] if stage else []
        after = [Task("B", stage + 1, microbatch)] if stage + 1 < self.num_stages else []
        return [Task("F", stage, microbatch), *after]


def in_one_process(program: Program, begins: Sequence[Sequence[float]]) -> Program:
    """Return the tasks of all ranks as those of one rank, in the order in which they begin.

    Parameters
    ----------
    begins : sequence of sequence of float
        Times from ``simulate``; tasks that begin together are taken in the order of dependence.
    """
    every = [
        (begin, task.kind != "F", task.stage if task.kind == "F" else -task.stage, task)
        for own, times in zip(program.tasks, begins, strict=True)
        for task, begin in zip(own, times, strict=True)
    ]
    tasks = [task for *_, task in sorted(every)]
    return from_tasks([tasks], program.num_microbatches, program.name)


def make_program(
    schedule: Callable[[int, int, int], Iterable[Task]], size: int, num_microbatches: int, name: str = "a schedule"
) -> Program:
    """Return the program of ``schedule``.

    Raises
    ------
    ScheduleError
        For a task that is missing, comes twice, or comes before a task of the same microbatch and stage that it needs,
        and for a stage on two ranks; with the rank and the task.
    """
    tasks, lines = [], []
    for rank in range(size):
        own = schedule(rank, size, num_microbatches)
        if hasattr(own, "line"):
            numbered = [(task, own.line) for task in own]
            tasks.append([task for task, _ in numbered])
            lines.append([line for _, line in numbered])
        else:
            tasks.append(list(own))
    return from_tasks(tasks, num_microbatches, name, lines)


def from_tasks(
    tasks: list[list[Task]], num_microbatches: int, name: str, lines: list[list[int | None]] | None = None
) -> Program:
    """Return the program of the tasks of each rank; see ``make_program``."""
    rank_of = _find_ranks(tasks, lines or [])
    is_split = any(task.kind == "W" for own in tasks for task in own)
    program = Program(name, len(tasks), num_microbatches, len(rank_of), tasks, rank_of, is_split, lines or [])
    _check_tasks(program)
    return program


def _find_ranks(tasks: Sequence[Sequence[Task]], lines: list[list[int | None]]) -> list[int]:
    """Return the rank of each stage; raise ScheduleError unless each stage is on one rank, and each rank has one."""
    size = len(tasks)
    owner: dict[int, int] = {}
    for rank, own in enumerate(tasks):
        if not own:
            raise ScheduleError(f"rank {rank} of {size} yields no task, but each rank has one stage at least")
        first: dict[int, int] = {}
        for place, task in enumerate(own):
            first.setdefault(task.stage, place)
        for stage, place in first.items():
            if owner.setdefault(stage, rank) != rank:
                line = f", line {lines[rank][place]}" if lines and lines[rank][place] else ""
                raise ScheduleError(
                    f"rank {rank} of {size}, task {place}{line}: {own[place]}, but stage {stage} is on rank "
                    f"{owner[stage]}: all tasks of a stage are on one rank, where its weights are"
                )
    last = max(owner)
    if len(owner) <= last:
        gap = next(stage for stage in range(last) if stage not in owner)
        raise ScheduleError(f"stage {gap} is on no rank, but rank {owner[last]} has stage {last}")
    return [owner[stage] for stage in range(last + 1)]


def _check_tasks(program: Program) -> None:
    """Raise ScheduleError unless each task is there once, F before B before W."""
    m, plane = program.num_microbatches, program.num_stages * program.num_microbatches
    base = {kind: number * plane for number, kind in enumerate(KINDS)}
    places = [-1] * (3 * plane)
    for rank, own in enumerate(program.tasks):
        for place, (kind, stage, microbatch) in enumerate(own):
            if not 0 <= microbatch < m:
                there = f"microbatches go from 0 to {m - 1}" if m > 1 else "there is no microbatch but 0"
                raise ScheduleError(f"{program.where(rank, place)}: {own[place]}, but {there}")
            key = base[kind] + stage * m + microbatch
            if places[key] >= 0:
                raise ScheduleError(
                    f"{program.where(rank, place)}: {own[place]} comes a second time, it was task {places[key]} already"
                )
            places[key] = place
    kinds = KINDS if program.is_split else KINDS[:2]
    if any(place < 0 for place in places[: plane * len(kinds)]):
        key = places.index(-1)
        _refuse_missing(program, Task(kinds[key // plane], key % plane // m, key % m))
    for before, after in pairwise(kinds):
        pairs = zip(places[base[before] :][:plane], places[base[after] :][:plane], strict=True)
        for key, (one, two) in enumerate(pairs):
            if two < one:
                task, rank = Task(after, key // m, key % m), program.rank_of[key // m]
                raise ScheduleError(
                    f"{program.where(rank, two)}: {task} comes before its {before}, which is task {one}: {WHY[after]}"
                )


WHY = {"B": "backward needs what forward has kept", "W": "dw needs the gradient that B takes"}


def _refuse_missing(program: Program, task: Task) -> None:
    rank = program.rank_of[task.stage]
    there = sum(task[:2] == other[:2] for other in program.tasks[rank])
    why = f"it yields {task.kind} there for {there} of {program.num_microbatches} microbatches"
    if task.kind == "W" and not there:
        why = "in a schedule with W every B needs its own"
    raise ScheduleError(f"rank {rank} of {program.size} never yields {task}: {why}")
