"""Pipeline schedules as generators of one rank's tasks: pure schedules, no MPI and no arrays."""

from ..errors import EndlessError, ScheduleError
from .check import Checked, check, check_for
from .find import PIPELINES, find
from .message_order import Handover, handovers, in_one_order, wave
from .pipeline import Pipeline, make_pipeline, pipeline
from .program import Program, in_one_process, make_program
from .simulate import Timeline, simulate
from .task import Schedule, Task

__all__ = [
    "PIPELINES",
    "Checked",
    "EndlessError",
    "Handover",
    "Pipeline",
    "Program",
    "Schedule",
    "ScheduleError",
    "Task",
    "Timeline",
    "check",
    "check_for",
    "find",
    "handovers",
    "in_one_order",
    "in_one_process",
    "make_pipeline",
    "make_program",
    "pipeline",
    "simulate",
    "wave",
]
