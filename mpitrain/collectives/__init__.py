"""Collective algorithms as generators of one rank's steps: pure schedules, no MPI."""

from .check import check_all_reduce
from .flat import flat
from .lockstep import ScheduleError
from .ring import ring
from .simulate import simulate
from .step import Schedule, Step, as_range, chunk_bounds
from .tree import tree

ALL_REDUCE: dict[str, Schedule] = {"ring": ring, "tree": tree, "flat": flat}
"""The all-reduce algorithms by name."""

__all__ = [
    "ALL_REDUCE",
    "Schedule",
    "ScheduleError",
    "Step",
    "as_range",
    "check_all_reduce",
    "chunk_bounds",
    "flat",
    "ring",
    "simulate",
    "tree",
]
