"""Results of a run at its evaluations, and the best of them."""

import math
from dataclasses import dataclass, field
from typing import Any

from .scoring.scores import Scoring
from .step_timer import Times


@dataclass(frozen=True)
class EpochResult:
    """The figures of an evaluation and of the training since the one before, over all ranks; scores are means.

    By default there is one for each epoch; ``epoch`` and ``step`` are those in progress or just done. ``validation`` is
    empty where there is no validation split.
    """

    epoch: int
    step: int
    lr: float
    train: dict[str, float]
    test: dict[str, float]
    samples_per_second: float
    seconds: float
    times: Times
    validation: dict[str, float] = field(default_factory=dict)

    @property
    def held_out(self) -> dict[str, float]:
        """Scores for choices: of the validation split, or of the test split without one."""
        return self.validation or self.test


@dataclass(frozen=True)
class Result:
    """The figures of a run, the same on all ranks.

    Attributes
    ----------
    evaluations : tuple of EpochResult
        One for each epoch, or for each evaluation with ``evaluate_every``.
    best : EpochResult or None
        The one with the best validation score, or test score without a validation split; None if the training ended
        before the first evaluation.
    steps : int
    stopped : bool
        True if the training ended early on request; with ``out``, ``fit(resume=True)`` continues it.
    skipped : int
        Steps whose update was left out.
    seconds : float
    """

    evaluations: tuple[EpochResult, ...]
    best: EpochResult | None
    steps: int
    stopped: bool
    skipped: int
    seconds: float

    @property
    def train(self) -> dict[str, float]:
        """Scores over the training samples before the last evaluation."""
        return self.evaluations[-1].train if self.evaluations else {}

    @property
    def test(self) -> dict[str, float]:
        """Scores of the last weights over the test samples."""
        return self.evaluations[-1].test if self.evaluations else {}

    @property
    def validation(self) -> dict[str, float]:
        """Scores of the last weights over the validation samples; empty without any."""
        return self.evaluations[-1].validation if self.evaluations else {}


class RunResults:
    """The results of a run.

    Parameters
    ----------
    scoring : Scoring

    Attributes
    ----------
    evaluations : list of EpochResult
        One for each evaluation, from the first of the run on also where the run was resumed.
    best : int
        The number, from 1, of the evaluation with the best validation score, or test score without a validation split
        (of equal ones, with the lowest loss; of equal ones, the first); 0 before the first.
    skipped : int
        Steps that were left out because their loss or gradient was not finite.
    tables : dict
        The results of metrics that are tables, of the latest test (see ``tables.to_lists``).
    """

    def __init__(self, scoring: Scoring):
        self._scoring = scoring
        self.evaluations: list[EpochResult] = []
        self.best = self.skipped = 0
        self.tables: dict[str, Any] = {}

    @property
    def metric(self) -> str:
        """The score that selects the best evaluation: accuracy or mse."""
        return self._scoring.metric

    @property
    def last_step(self) -> int:
        """The step of the last evaluation; 0 before the first."""
        return self.evaluations[-1].step if self.evaluations else 0

    def __getitem__(self, number: int) -> EpochResult:
        """Return the figures of an evaluation, counted from 1."""
        return self.evaluations[number - 1]

    def add(self, result: EpochResult) -> None:
        """Add the next evaluation."""
        self.evaluations.append(result)
        if self.best == 0 or self._rank(result) > self._rank(self[self.best]):
            self.best = len(self.evaluations)

    def forget_after(self, number: int) -> None:
        """Forget all but the first ``number`` evaluations: the others will be done again."""
        kept, self.evaluations, self.best = self.evaluations[:number], [], 0
        for result in kept:
            self.add(result)

    def restore(self, evaluations: list[EpochResult], best: int, skipped: int) -> None:
        """Continue from the results of an earlier part of the run."""
        self.evaluations, self.best, self.skipped = evaluations, best, skipped

    def summary(self, steps: int, stopped: bool, seconds: float) -> Result:
        """Return the figures of a run of so many steps and seconds."""
        best = self[self.best] if self.evaluations else None
        return Result(tuple(self.evaluations), best, steps, stopped, self.skipped, seconds)

    def _rank(self, result: EpochResult) -> tuple[float, float]:
        """Return a key that is larger for a better evaluation: the score, then the loss; NaN is worst."""
        score, loss = result.held_out[self.metric], result.held_out["loss"]
        return _or_worst(score if self._scoring.larger_is_better else -score), _or_worst(-loss)


def _or_worst(value: float) -> float:
    return -math.inf if math.isnan(value) else value
