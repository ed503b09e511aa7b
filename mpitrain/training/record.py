"""What a run has brought so far: the figures of its epochs, in memory and in the files of its directory."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..arena import Arena
from ..errors import UserError
from ..losses import Totals
from .ownership import TakenOverError
from .progress import EpochResult, Lines
from .run_directory import BEST, LAST, RunDirectory
from .scoring import Scoring
from .weights import save_weights


class Record:
    """The results of a run.

    Parameters
    ----------
    scoring : Scoring
    directory : RunDirectory or None
        Rank 0's; None on the others.
    progress : Lines

    Attributes
    ----------
    results : list of EpochResult
        Of the epochs that are done, the first included where a run was resumed.
    best_epoch : int
        The epoch with the best test score (of equal ones, with the lowest test loss; of equal ones, the first), whose
        weights are in best.safetensors; 0 before the first.
    skipped : int
        Steps that were left out because their loss or gradient was not finite.
    """

    def __init__(self, scoring: Scoring, directory: RunDirectory | None, progress: Lines):
        self._scoring, self.directory, self._progress = scoring, directory, progress
        self.results: list[EpochResult] = []
        self.best_epoch = self.skipped = 0
        self._said: set[str] = set()

    @property
    def metric(self) -> str:
        """The score that is watched: accuracy or mse."""
        return self._scoring.metric

    def result(self, epoch: int) -> EpochResult:
        """Return the figures of an epoch."""
        return self.results[epoch - 1]

    def step_done(self, step: int, epoch: int, sums: Totals, lr: float) -> None:
        """Write the line of a step."""
        if self.directory is not None:
            loss = sums.loss / max(1.0, sums.weight)
            with self._forgiven():
                self.directory.log("step", step=step, epoch=epoch, loss=loss, lr=lr)

    def step_skipped(self, step: int, epoch: int, reason: str) -> None:
        """Say that a step was left out, and write its line (rank 0)."""
        self.skipped += 1
        if self.directory is not None:
            self._progress.note(f"step {step} is skipped: {reason}")
            with self._forgiven():
                self.directory.log("skipped", step=step, epoch=epoch, reason=reason)

    def flush(self) -> None:
        """Write all lines, so that a checkpoint finds what it follows."""
        if self.directory is not None:
            with self._forgiven():
                self.directory.flush()

    def epoch_done(self, result: EpochResult) -> None:
        """Keep and show what an epoch has brought."""
        self._keep(result)
        self._progress.epoch_done(result)

    def forget_after(self, epochs: int) -> None:
        """Forget what came after so many epochs: it will come again."""
        results, self.results, self.best_epoch = self.results[:epochs], [], 0
        for result in results:
            self._keep(result)

    def _keep(self, result: EpochResult) -> None:
        self.results.append(result)
        if self.best_epoch == 0 or self._rank(result) > self._rank(self.result(self.best_epoch)):
            self.best_epoch = result.epoch

    def _rank(self, result: EpochResult) -> tuple[float, float]:
        """Return what is larger for a better epoch: by the watched score, then by the loss; not a number is worst."""
        score = result.test[self.metric]
        return _or_worst(score if self._scoring.larger_is_better else -score), _or_worst(-result.test["loss"])

    def write(self, arena: Arena, facts: dict[str, Any], *, last: bool) -> None:
        """Write the line of the latest epoch, and the weights with ``facts`` (rank 0).

        Raises
        ------
        UserError
            If that cannot be and it is the ``last`` chance; before, it is said and training goes on.
        """
        if self.directory is None:
            return
        try:
            self._write(self.directory, self.results[-1], arena, facts)
        except TakenOverError:
            raise
        except UserError as error:
            if last:
                hint = f"--resume {self.directory.path} goes on from the last checkpoint, if there is one"
                raise UserError(f"{error}; {hint}") from None
            self._forgive(error)

    @contextlib.contextmanager
    def _forgiven(self) -> Iterator[None]:
        try:
            yield
        except TakenOverError:
            raise
        except UserError as error:
            self._forgive(error)

    def _forgive(self, error: UserError) -> None:
        """Say once what could not be written; the last epoch will try again."""
        if str(error) not in self._said:
            self._said.add(str(error))
            self._progress.note(f"{error}; training goes on")

    def _write(self, directory: RunDirectory, result: EpochResult, arena: Arena, facts: dict[str, Any]) -> None:
        directory.log(
            "epoch",
            epoch=result.epoch,
            step=result.step,
            lr=result.lr,
            train=result.train,
            test=result.test,
            samples_per_second=round(result.samples_per_second, 1),
            seconds=round(result.seconds, 4),
            time_share=result.times.shares(),
        )
        facts = facts | {"epoch": result.epoch, "step": result.step, "test": result.test}
        paths: list[Path] = [directory.path / LAST]
        if self.best_epoch == result.epoch:
            paths.append(directory.path / BEST)
        for path in paths:
            save_weights(path, arena, facts)


def _or_worst(value: float) -> float:
    return -math.inf if math.isnan(value) else value
