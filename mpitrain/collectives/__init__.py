"""Collective algorithms as generators of one rank's steps: pure schedules, no MPI."""

from ..errors import EndlessError, ScheduleError
from .algorithm import Algorithm, algorithm, make_algorithm
from .check import check, check_all_reduce, check_for
from .find import COLLECTIVES, find, names
from .goal import GOALS, Goal
from .operators import OPERATORS
from .simulate import simulate
from .step import Chunks, Schedule, Step, as_chunks, chunk_bounds, chunk_runs

ALL_REDUCE: dict[str, Algorithm] = {name: find(name) for name in names()}
"""The all-reduce algorithms by name, with the options that they have by default."""

ring, tree, flat = (ALL_REDUCE[name] for name in ("ring", "tree", "flat"))

__all__ = [
    "ALL_REDUCE",
    "COLLECTIVES",
    "GOALS",
    "OPERATORS",
    "Algorithm",
    "Chunks",
    "EndlessError",
    "Goal",
    "Schedule",
    "ScheduleError",
    "Step",
    "algorithm",
    "as_chunks",
    "check",
    "check_all_reduce",
    "check_for",
    "chunk_bounds",
    "chunk_runs",
    "find",
    "flat",
    "make_algorithm",
    "names",
    "ring",
    "simulate",
    "tree",
]
