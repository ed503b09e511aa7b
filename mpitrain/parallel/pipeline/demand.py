"""Demands of a schedule on each stage: its rank, and the microbatches of which it keeps something."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...pipelines import Program
from ...pipelines.task import Task


@dataclass(frozen=True)
class StageDemand:
    """Demand of a schedule on one stage.

    Attributes
    ----------
    rank : int
        Its rank in the pipeline.
    held : int
        The most microbatches that are past F, and not yet past B (in a schedule with W: past W).
    late : int
        The most microbatches that are past B and not yet past W, the one in B or W included; 0 without W.
    again : float
        Part of the microbatches for which a stage that keeps only its input runs forward a second time: those whose
        B does not follow their F at once, and with W all.
    slowness : float
        Time that its rank takes for the same work, relative to the rank whose times the costs are.
    """

    rank: int
    held: int = 1
    late: int = 0
    again: float = 1.0
    slowness: float = 1.0


def stage_demands(program: Program) -> list[StageDemand]:
    """Return the demand on each stage."""
    return [
        _demand(program, stage, [task for task in program.tasks[rank] if task.stage == stage], program.tasks[rank])
        for stage, rank in enumerate(program.rank_of)
    ]


def _demand(program: Program, stage: int, own: Sequence[Task], all_of_rank: Sequence[Task]) -> StageDemand:
    held = _peak(own, "F", "W" if program.is_split else "B")
    rank = program.rank_of[stage]
    if program.is_split:
        return StageDemand(rank, held, _peak(own, "B", "W"))
    at_once = sum(
        before == Task("F", stage, after.microbatch) and after == Task("B", stage, after.microbatch)
        for before, after in pairwise(all_of_rank)
    )
    return StageDemand(rank, held, 0, 1 - at_once / program.num_microbatches)


def _peak(tasks: Sequence[Task], begin: str, end: str) -> int:
    """Return the most microbatches between tasks of the kinds ``begin`` and ``end``."""
    now = most = 0
    for kind, _, _ in tasks:
        now += (kind == begin) - (kind == end)
        most = max(most, now)
    return most
