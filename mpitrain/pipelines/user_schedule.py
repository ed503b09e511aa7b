"""Pipeline schedules from a user's file: tasks with plain ints and their lines; invalid ones are refused."""

import operator
from collections.abc import Callable
from typing import Any

from ..user_generator import UserGenerator, given, why_no_int
from .task import KINDS, Task

SECONDS, SECONDS_A_TASK = 5.0, 1e-5  # time limit of one task, more where there are many in all
TASKS, TASKS_A_MICROBATCH = 10_000, 1_000  # limit for one rank


class UserSchedule:
    """A user's function as a schedule.

    Parameters
    ----------
    function : callable(rank, size, num_microbatches, **options)
    options : dict
    """

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]):
        self._function, self._options = function, options

    def __call__(self, rank: int, size: int, num_microbatches: int) -> "UserTasks":
        """Return the tasks of ``rank``; the function is called for the first one."""
        seconds = SECONDS + SECONDS_A_TASK * size * num_microbatches
        most = TASKS + TASKS_A_MICROBATCH * num_microbatches
        arguments = (rank, size, num_microbatches)
        return UserTasks(self._function, arguments, self._options, seconds=seconds, most=most)


class UserTasks(UserGenerator[Task]):
    """Iterator over the tasks of one rank of a user's function."""

    item, place = Task, "task"

    def fit(self, item: Task) -> Task:
        """Return the task with plain ints; raise ScheduleError if it is not valid."""
        kind, stage, microbatch = item
        if kind not in ("F", "B", "W"):
            self.refuse(f"kind is {given(kind)}, but must be one of {', '.join(map(repr, KINDS))}")
        if type(stage) is not int or type(microbatch) is not int:
            item = Task(kind, self._number_of("stage", stage), self._number_of("microbatch", microbatch))
        if item.stage < 0:
            self.refuse(f"stage is {item.stage}, but stages go from 0 on")
        return item

    def _number_of(self, name: str, value: Any) -> int:
        try:
            return operator.index(value)
        except TypeError:
            self.refuse(f"{name} is {given(value)}, but must be a whole number{why_no_int(value)}")
