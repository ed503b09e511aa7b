"""Work of a sweep: a part of a trial, which is decided from the state that all ranks share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .state import INTERRUPTED, RUNNING, SweepState

WAIT, DONE = "wait", "done"
"""There is nothing to do until another trial ends; there never will be anything again."""


@dataclass(frozen=True)
class Work:
    """A part of a trial that a group is to do.

    Attributes
    ----------
    trial : int
    until : float
        Epochs after which it is paused; 0 for the end of the run.
    life : int
        Number of the directory of its run.
    parent : int
        Trial whose weights it takes over first; -1 for none.
    values : mapping or None
        Values of its parameters, where they are not those of the plan.
    """

    trial: int
    until: float = 0.0
    life: int = 0
    parent: int = -1
    values: Mapping[str, Any] | None = None


Decide = Callable[[SweepState], Work | str]


def interrupted(state: SweepState) -> Work | None:
    """Return the part of a trial that was interrupted, to be done again."""
    for trial in state.trials:
        if trial.status == INTERRUPTED:
            return Work(trial.number, trial.until, trial.life, trial.parent, trial.values)
    return None


def wait_or_done(state: SweepState) -> str:
    """Return WAIT while a trial runs, which may bring more work, else DONE."""
    return WAIT if state.count(RUNNING) else DONE
