"""Asynchronous successive halving: many short trials, of which the best go on.

Source: Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht and Talwalkar, A System for Massively Parallel
Hyperparameter Tuning, MLSys 2020 (algorithm 2).
"""

from .spec import SweepSpec
from .state import PAUSED, WAITING, SweepState, TrialState
from .work import Work, interrupted, wait_or_done


def rungs(least: int, most: int, reduction: int) -> list[int]:
    """Return the epochs at which trials are compared; the last is the end of a run.

    >>> rungs(1, 10, 3), rungs(2, 2, 2)
    ([1, 3, 9, 10], [2])
    """
    found, epochs = [], least
    while epochs < most:
        found.append(epochs)
        epochs *= reduction
    return [*found, most]


class SuccessiveHalving:
    """Decisions of asha.

    A trial is paused at each rung. Whoever is free continues the best trial, from the highest rung that has one, which
    is in the best ``reduction``-th part of all that have reached its rung; where there is none, a new trial begins.
    The learning-rate schedule of a trial is that of all epochs, from the beginning on.

    Parameters
    ----------
    spec : SweepSpec
    """

    def __init__(self, spec: SweepSpec):
        epochs = spec.config(spec.first_values()).run.epochs
        self._rungs, self._reduction = rungs(spec.min_epochs, epochs, spec.reduction), spec.reduction

    def __call__(self, state: SweepState) -> Work | str:
        """Return the next part of a trial."""
        if (again := interrupted(state)) is not None:
            return again
        for place in range(len(self._rungs) - 2, -1, -1):
            for trial in self._promotable(state, place):
                return self._work(trial.number, place + 1)
        for trial in state.trials:
            if trial.status == WAITING:
                return self._work(trial.number, 0)
        return wait_or_done(state)

    def _promotable(self, state: SweepState, place: int) -> list[TrialState]:
        """Return the trials that wait at a rung and are among its best, the best first."""
        rung = float(self._rungs[place])
        there = [trial for trial in state.trials if rung in trial.reports]
        there.sort(key=lambda trial: (-state.better(trial.reports[rung]), trial.number))
        best = there[: len(there) // self._reduction]
        return [trial for trial in best if trial.status == PAUSED and max(trial.reports) == rung]

    def _work(self, number: int, place: int) -> Work:
        last = place == len(self._rungs) - 1
        return Work(number, 0.0 if last else float(self._rungs[place]))
