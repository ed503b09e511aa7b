"""Predictions of schedules that may be wrong: as far as they go, with the reason."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ...errors import UserError

if TYPE_CHECKING:
    from ...pipelines.price import Costs, Prediction


def predict_one(name: str, size: int, num_microbatches: int, costs: "Costs") -> tuple["Prediction", str]:
    """Return the prediction of a schedule, and why it is wrong: a deadlock, or a promise of a user's that is not kept.

    Raises
    ------
    UserError
        If a task is missing, comes twice or out of order: there is nothing to predict.
    """
    from ...pipelines import ScheduleError, check_for, find
    from ...pipelines.price import predict

    pipeline, case = find(name), f"P = {size}, M = {num_microbatches}"
    try:
        found = predict(pipeline, size, num_microbatches, costs)
    except ScheduleError as error:
        raise UserError(f"{name} is wrong for {case}: {error}") from None
    wrong = f"{case}: {found.timeline.error}" if found.timeline.error else ""
    if ".py:" in name and not wrong:
        try:
            check_for(pipeline, size, num_microbatches)
        except ScheduleError as error:
            wrong = str(error)
    return found, wrong


def warn(wrong: Iterable[tuple[str, str]], consequence: str) -> bool:
    """Print the reasons, of (name, reason), on standard error; return whether there are any."""
    any_wrong = False
    for name, reason in wrong:
        if reason:
            any_wrong = True
            print(f"mpitrain: {consequence}: {name} is wrong for {reason}", file=sys.stderr, flush=True)
    return any_wrong
