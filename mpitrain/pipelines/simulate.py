"""Simulation of a program in time: every task begins as soon as its rank is free and its inputs are there.

Receives are posted early, into buffers of their own, so a sender never waits. Then a complete program without a circle
of waiting ends under any timing, and whether it has one does not depend on the timing: one run decides.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import ScheduleError
from .program import Program
from .task import KINDS

Link = Callable[[int, int], tuple[float, float]]
"""link(sender, receiver) returns the latency of a message, and the time for which it keeps the link busy."""

Durations = Sequence[Sequence[float]]
"""Time of each task: ``durations[rank][place]``."""


@dataclass(frozen=True)
class Timeline:
    """Times of all tasks of a program, in the unit of the durations.

    Attributes
    ----------
    program : Program
    begins, ends : list of list of float
        ``begins[rank][place]``: as the tasks of the program, or fewer if there is an error.
    error : str
        Circle in which ranks wait, if the program was simulated as far as it goes; else empty.
    """

    program: Program
    begins: list[list[float]]
    ends: list[list[float]]
    error: str = ""

    @property
    def first(self) -> float:
        """Begin of the first task of all."""
        return min((own[0] for own in self.begins if own), default=0.0)

    @property
    def last(self) -> float:
        """End of the last task of all."""
        return max((own[-1] for own in self.ends if own), default=0.0)

    @property
    def total(self) -> float:
        """Time from the first begin to the last end."""
        return self.last - self.first

    @property
    def busy(self) -> list[float]:
        """Time for which each rank works."""
        return [
            sum(end - begin for begin, end in zip(*own, strict=True))
            for own in zip(self.begins, self.ends, strict=True)
        ]

    @property
    def bubble(self) -> float:
        """Part of the time in which ranks are idle, mean over ranks."""
        total = self.total * self.program.size
        return 1.0 - sum(self.busy) / total if total > 0 else 0.0

    @functools.cached_property
    def peaks(self) -> list[int]:
        """Activations of one microbatch and one stage that each rank holds at most, from F to B (split: to W)."""
        release, found = "W" if self.program.is_split else "B", []
        for own, begun in zip(self.program.tasks, self.begins, strict=True):
            held = peak = 0
            for kind, _, _ in own[: len(begun)]:
                if kind == "F":
                    held += 1
                    peak = max(peak, held)
                elif kind == release:
                    held -= 1
            found.append(peak)
        return found

    @property
    def live(self) -> list[float]:
        """Microbatches that each rank holds at most, where all its stages of one microbatch count as one."""
        stages = map(len, self.program.stages_of)
        return [peak / count for peak, count in zip(self.peaks, stages, strict=True)]


def unit_durations(program: Program) -> list[list[float]]:
    """Return the durations of equal parts: F, dx and dw of the P-th part of the model take 1 each.

    A rank's share is divided among its stages, and B takes 2 where it includes dw.
    """
    part = program.size / program.num_stages
    cost = {"F": part, "B": part if program.is_split else 2 * part, "W": part}
    return [[cost[task.kind] for task in own] for own in program.tasks]


def simulate(
    program: Program, durations: Durations | None = None, link: Link | None = None, *, partial: bool = False
) -> Timeline:
    """Return the times of all tasks.

    Parameters
    ----------
    program : Program
    durations : sequence of sequence of float, optional
        Time of each task; by default those of ``unit_durations``.
    link : callable(sender, receiver), optional
        Times of a message; by default messages take no time. Messages from one rank to another follow each other.
    partial : bool
        Return the tasks before a deadlock, and its error, instead of raising.

    Raises
    ------
    ScheduleError
        If ranks wait for each other for ever: the message goes around the circle.

    Examples
    --------
    >>> from mpitrain.pipelines import find, make_program
    >>> found = simulate(make_program(find("gpipe"), 4, 8))
    >>> found.total, round(found.bubble, 4), found.live
    (33.0, 0.2727, [8.0, 8.0, 8.0, 8.0])
    """
    costs = unit_durations(program) if durations is None else durations
    size, m = program.size, program.num_microbatches
    plane, last = program.num_stages * m, program.num_stages - 1
    base = {kind: number * plane for number, kind in enumerate(KINDS)}
    rank_of, tasks = program.rank_of, program.tasks
    receivers = {"F": [*rank_of[1:], rank_of[-1]], "B": [rank_of[0], *rank_of[:-1]], "W": rank_of}
    done: list[float | None] = [None] * (3 * plane)  # end of each task on its own rank,
    arrived: list[float | None] = [None] * (2 * plane)  # and arrival of its result on the neighbor's
    free_links: dict[tuple[int, int], float] = {}
    begins: list[list[float]] = [[] for _ in range(size)]
    ends: list[list[float]] = [[] for _ in range(size)]
    clocks = [0.0] * size
    waiting: dict[int, int] = {}  # rank that waits for a task
    ready = list(range(size - 1, -1, -1))
    while ready:
        rank = ready.pop()
        own, own_costs, clock = tasks[rank], costs[rank], clocks[rank]
        for place in range(len(begins[rank]), len(own)):
            kind, stage, microbatch = own[place]
            key = base[kind] + stage * m + microbatch
            # the own F of a B, and the own B of a W, come before it: the program is checked
            neighbor = stage - 1 if kind == "F" else stage + 1 if kind == "B" else -1
            if 0 <= neighbor <= last:
                need = base[kind] + neighbor * m + microbatch
                at = done[need] if rank_of[neighbor] == rank else arrived[need]
                if at is None:
                    waiting[need] = rank
                    break
                begin = at if at > clock else clock
            else:
                begin = clock
            clock = begin + own_costs[place]
            begins[rank].append(begin)
            ends[rank].append(clock)
            done[key] = clock
            receiver = receivers[kind][stage]
            if receiver != rank:
                arrived[key] = clock
                if link is not None:
                    latency, occupied = link(rank, receiver)
                    free = max(clock, free_links.get((rank, receiver), clock)) + occupied
                    free_links[rank, receiver], arrived[key] = free, free + latency
            if key in waiting:
                ready.append(waiting.pop(key))
        clocks[rank] = clock
    error = ""
    if any(len(begins[rank]) < len(tasks[rank]) for rank in range(size)):
        error = _describe_circle(program, [len(own) for own in begins])
        if not partial:
            raise ScheduleError(error)
    return Timeline(program, begins, ends, error)


def _describe_circle(program: Program, places: list[int]) -> str:
    """Return why no rank goes on: the tasks before which they wait, in a circle."""
    where = {task: (rank, place) for rank, own in enumerate(program.tasks) for place, task in enumerate(own)}
    rank = next(rank for rank, own in enumerate(program.tasks) if places[rank] < len(own))
    seen: dict[int, str] = {}
    while rank not in seen:
        task = program.tasks[rank][places[rank]]
        late = next(t for t in program.needs(task) if where[t][1] >= places[where[t][0]])
        there, place = where[late]
        at = program.where(rank, places[rank])
        if there == rank:
            return f"{at}: {task} comes before {late}, which it needs and which is task {place} of the same rank"
        seen[rank] = f"{at}, waits before {task} for {late} (task {place} of rank {there})"
        rank = there
    ranks = list(seen)
    circle = [seen[r] for r in ranks[ranks.index(rank) :]]
    return f"deadlock: {'; '.join(circle)}"
