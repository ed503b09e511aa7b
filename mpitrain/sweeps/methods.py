"""Decisions about the next work of a sweep, each from the state that all ranks share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .plan import Trial, order_of
from .spec import SweepSpec
from .state import INTERRUPTED, PAUSED, RUNNING, WAITING, SweepState

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


def make_method(spec: SweepSpec, trials: Sequence[Trial]) -> Decide:
    """Return the function that takes the decisions of a sweep."""
    if spec.method == "asha":
        from .asha import SuccessiveHalving

        return SuccessiveHalving(spec)
    if spec.method == "pbt":
        from .pbt import Population

        return Population(spec, trials)
    return Queue(order_of(spec, trials))


class Queue:
    """Queue of trials that do not depend on each other: interrupted ones first, then the others in an order.

    Parameters
    ----------
    order : sequence of int
        Numbers of the trials.
    """

    def __init__(self, order: Sequence[int]):
        self._order = order

    def __call__(self, state: SweepState) -> Work | str:
        """Return the next trial."""
        for status in (INTERRUPTED, PAUSED, WAITING):
            for number in self._order:
                if state.trials[number].status == status:
                    return Work(number)
        return DONE


def interrupted(state: SweepState) -> Work | None:
    """Return the part of a trial that was interrupted, to be done again."""
    for trial in state.trials:
        if trial.status == INTERRUPTED:
            return Work(trial.number, trial.until, trial.life, trial.parent, trial.values)
    return None


def wait_or_done(state: SweepState) -> str:
    """Return WAIT while a trial runs, which may bring more work, else DONE."""
    return WAIT if state.count(RUNNING) else DONE
