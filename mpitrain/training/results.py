"""Figures of the epochs of a run, and which of them is the best."""

import math
from dataclasses import dataclass, field
from typing import Any

from .scoring import Scoring
from .step_timer import Times


@dataclass(frozen=True)
class EpochResult:
    """The figures of one epoch, over all ranks; losses and scores are means over samples.

    ``validation`` is empty where there is no validation split.
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
        """The scores that choices are made by: those of the validation split, or of the test split without one."""
        return self.validation or self.test


class RunResults:
    """The results of a run.

    Parameters
    ----------
    scoring : Scoring

    Attributes
    ----------
    epochs : list of EpochResult
        One for each epoch that is done, from the first epoch of the run on also where the run was resumed.
    best_epoch : int
        The epoch with the best validation score, or test score without a validation split (of equal ones, with the
        lowest loss; of equal ones, the first); 0 before the first.
    skipped : int
        Steps that were left out because their loss or gradient was not finite.
    tables : dict
        The results of metrics that are tables, of the latest test (see ``tables.to_lists``).
    """

    def __init__(self, scoring: Scoring):
        self._scoring = scoring
        self.epochs: list[EpochResult] = []
        self.best_epoch = self.skipped = 0
        self.tables: dict[str, Any] = {}

    @property
    def metric(self) -> str:
        """The score that selects the best epoch: accuracy or mse."""
        return self._scoring.metric

    def __getitem__(self, epoch: int) -> EpochResult:
        """Return the figures of an epoch, counted from 1."""
        return self.epochs[epoch - 1]

    def add(self, result: EpochResult) -> None:
        """Add the next epoch."""
        self.epochs.append(result)
        if self.best_epoch == 0 or self._rank(result) > self._rank(self[self.best_epoch]):
            self.best_epoch = result.epoch

    def forget_after(self, epochs: int) -> None:
        """Forget all but the first ``epochs`` epochs: the others will be done again."""
        kept, self.epochs, self.best_epoch = self.epochs[:epochs], [], 0
        for result in kept:
            self.add(result)

    def restore(self, epochs: list[EpochResult], best_epoch: int, skipped: int) -> None:
        """Continue from the results of an earlier part of the run."""
        self.epochs, self.best_epoch, self.skipped = epochs, best_epoch, skipped

    def _rank(self, result: EpochResult) -> tuple[float, float]:
        """Return a key that is larger for a better epoch: the score, then the loss; NaN is worst."""
        score, loss = result.held_out[self.metric], result.held_out["loss"]
        return _or_worst(score if self._scoring.larger_is_better else -score), _or_worst(-loss)


def _or_worst(value: float) -> float:
    return -math.inf if math.isnan(value) else value
