"""Methods of sweeps by name."""

from collections.abc import Sequence

from .asha import SuccessiveHalving
from .pbt import Population
from .plan import Trial, order_of
from .spec import SweepSpec
from .state import INTERRUPTED, PAUSED, WAITING, SweepState
from .work import DONE, Decide, Work


def make_method(spec: SweepSpec, trials: Sequence[Trial]) -> Decide:
    """Return the function that takes the decisions of a sweep."""
    if spec.method == "asha":
        return SuccessiveHalving(spec)
    if spec.method == "pbt":
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
