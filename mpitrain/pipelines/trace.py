"""Traces: the file format of recorded pipeline runs.

A trace is text, one JSON object a line: a head, then one line for each task, times in seconds on the clock of rank 0.

    {"format": "mpitrain-pipeline-trace", "version": 1, "pipeline": "1f1b", "size": 4, "num_microbatches": 8, ...}
    {"rank": 0, "kind": "F", "stage": 0, "microbatch": 0, "begin": 0.0, "end": 0.00113}
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ScheduleError, UserError
from ..json_lines import parse_lines, read_lines, whole
from ..json_text import to_json
from .idle import find_idle
from .pipeline import Pipeline
from .price import Costs, Prediction, predict_program
from .program import Program, from_tasks
from .simulate import Link, Timeline
from .task import KINDS, Task

FORMAT, VERSION = "mpitrain-pipeline-trace", 1


class Span(NamedTuple):
    """One task as it was run.

    Attributes
    ----------
    rank : int
    task : Task
    begin, end : float
        Seconds.
    """

    rank: int
    task: Task
    begin: float
    end: float


@dataclass(frozen=True)
class Trace:
    """A recorded run of one step.

    Parameters
    ----------
    pipeline : str
        As ``find`` finds it.
    size, num_microbatches : int
        P and M.
    spans : list of Span
    clock_error : float
        Bound on the difference of the clocks of two ranks, in seconds.
    mpi_version : str
        Name and version of the MPI implementation; empty if unknown.
    """

    pipeline: str
    size: int
    num_microbatches: int
    spans: list[Span]
    clock_error: float = 0.0
    mpi_version: str = ""


def format_trace(trace: Trace) -> str:
    """Return the text of a trace file."""
    head = {"format": FORMAT, "version": VERSION} | {name: getattr(trace, name) for name in _HEAD}
    rows = [{"rank": s.rank, **s.task._asdict(), "begin": s.begin, "end": s.end} for s in trace.spans]
    return "".join(to_json(line) + "\n" for line in (head, *rows))


def parse_trace(lines: Iterable[str], name: str = "the trace") -> Trace:
    """Return the trace in the ``lines`` of a file.

    Raises
    ------
    UserError
        With the line that is wrong, and the reason.
    """
    head, rows = parse_lines(lines, name, format=FORMAT, version=VERSION, kind="pipeline trace")
    try:
        size, num_microbatches = whole(head["size"]), whole(head["num_microbatches"])
        error, mpi_version = float(head["clock_error"]), str(head["mpi_version"])
        trace = Trace(str(head["pipeline"]), size, num_microbatches, [], error, mpi_version)
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{name}, line 1: the head of a trace needs {', '.join(_HEAD)}") from None
    for number, row in enumerate(rows, 2):
        trace.spans.append(_span(row, size, f"{name}, line {number}"))
    return trace


def read_trace(path: str | Path) -> Trace:
    """Read a trace file."""
    return parse_trace(read_lines(path, "pipeline trace"), str(path))


_HEAD = tuple(f.name for f in fields(Trace) if f.name != "spans")
_ROW = ("rank", "kind", "stage", "microbatch", "begin", "end")


def _span(row: dict[str, Any], size: int, where: str) -> Span:
    try:
        rank, kind = whole(row["rank"]), row["kind"]
        task = Task(kind, whole(row["stage"]), whole(row["microbatch"]))
        begin, end = float(row["begin"]), float(row["end"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{where}: a task needs {', '.join(_ROW)}") from None
    if kind not in ("F", "B", "W"):
        raise UserError(f"{where}: the kind of a task is one of {', '.join(KINDS)}")
    if rank >= size:
        raise UserError(f"{where}: ranks go from 0 to {size - 1}")
    if not (math.isfinite(begin) and math.isfinite(end) and begin <= end):
        raise UserError(f"{where}: a task ends after it begins")
    return Span(rank, task, begin, end)


@dataclass(frozen=True)
class Recorded:
    """A recorded run beside its program.

    Attributes
    ----------
    trace : Trace
    run : Prediction
        Its times, with the causes of idle intervals.
    durations : list of list of float
        Times of tasks.
    early : float
        Time by which a task has begun before its input was there, at most: clocks that differ.
    """

    trace: Trace
    run: Prediction
    durations: list[list[float]]
    early: float

    @property
    def costs(self) -> Costs:
        """Mean time of each kind and stage, for a prediction. Where B is not split, half of it counts as dw."""
        program = self.run.timeline.program
        times: dict[tuple[str, int], list[float]] = defaultdict(list)
        for own, costs in zip(program.tasks, self.durations, strict=True):
            for task, cost in zip(own, costs, strict=True):
                times[task.kind, task.stage].append(cost)

        def mean(kind: str, part: float = 1.0) -> tuple[float, ...]:
            values = [times[kind, stage] for stage in range(program.num_stages)]
            return tuple(part * sum(own) / len(own) for own in values)

        if program.is_split:
            return Costs(mean("F"), mean("B"), mean("W"), in_seconds=True)
        return Costs(mean("F"), mean("B", 0.5), mean("B", 0.5), in_seconds=True)

    @property
    def pipeline(self) -> Pipeline:
        """The recorded tasks as a schedule, for the recorded P and M only."""
        program = self.run.timeline.program

        def tasks(rank: int, size: int, num_microbatches: int) -> Iterator[Task]:
            if (size, num_microbatches) != (program.size, program.num_microbatches):
                raise ScheduleError(f"recorded with P = {program.size} and M = {program.num_microbatches} only")
            return iter(program.tasks[rank])

        return Pipeline(program.name, tasks)

    def predict(self, link: Link | None = None) -> Prediction:
        """Return the prediction of the same tasks from their mean times and the times of messages."""
        program = self.run.timeline.program
        return predict_program(program, self.costs.durations(program), link, in_seconds=True)

    def difference(self, pipeline: Pipeline) -> str:
        """Return the first task that differs from those of ``pipeline``; empty if there is none."""
        program = self.run.timeline.program
        for rank, own in enumerate(program.tasks):
            wanted = list(pipeline(rank, program.size, program.num_microbatches))
            for place, (ran, other) in enumerate(zip_longest(own, wanted)):
                if ran != other:
                    return f"task {place} of rank {rank} was {ran}, but {pipeline.name} has {other}"
        return ""


def replay(trace: Trace) -> Recorded:
    """Return the run that a trace has recorded.

    Raises
    ------
    UserError
        If tasks are missing or come twice, or overlap on a rank.
    """
    own: list[list[Span]] = [[] for _ in range(trace.size)]
    for span in trace.spans:
        own[span.rank].append(span)
    for rank, spans in enumerate(own):
        spans.sort(key=lambda span: (span.begin, span.end))
        for one, two in pairwise(spans):
            if two.begin < one.end:
                raise UserError(
                    f"the trace has rank {rank} in two tasks at once: {one.task} until {one.end:g} s, and {two.task} "
                    f"from {two.begin:g} s"
                )
    try:
        program = from_tasks([[span.task for span in spans] for spans in own], trace.num_microbatches, trace.pipeline)
    except ScheduleError as error:
        raise UserError(f"the trace is not that of a whole step: {error}") from None
    begins, ends = [[span.begin for span in spans] for spans in own], [[span.end for span in spans] for spans in own]
    durations = [[span.end - span.begin for span in spans] for spans in own]
    timeline = Timeline(program, begins, ends)
    return Recorded(
        trace, Prediction(timeline, find_idle(timeline, durations), in_seconds=True), durations, _early(trace, program)
    )


def _early(trace: Trace, program: Program) -> float:
    ends = {span.task: span.end for span in trace.spans}
    return max(0.0, *(ends[need] - span.begin for span in trace.spans for need in program.needs(span.task)))
