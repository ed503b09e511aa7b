"""Scores of outputs, as sums that add up over batches and ranks."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ...config import Run
from ...context import Context
from ...data.dataset import CLASSIFICATION, LANGUAGE_MODELING, REGRESSION, SEGMENTATION, Split
from ...data.normalize import Normalizer
from ...errors import UserError
from ...head_loss import split_head
from ...layers import Layer
from ...losses import MSE, Loss, SoftmaxCrossEntropy
from ...metrics import MetricSet, make_metrics
from ...metrics.names import Spec
from ...run_rules import parse_early_stop
from .language import LanguageModeling
from .segmentation import Segmentation

_SQUARABLE = 1e-140, 1e140  # deviations whose squares, summed over samples, are far from the ends of float64


class Scoring(Protocol):
    """Turns a batch into sums, and the sums of all ranks into named scores."""

    metric: str
    """The score that is watched: accuracy, mse, miou or perplexity."""
    larger_is_better: bool
    num_sums: int
    names: tuple[str, ...]
    """Its own scores."""
    metrics: MetricSet
    """The metrics requested in addition to its own scores."""

    def sums(self, outputs: np.ndarray, targets: np.ndarray, saved: Context) -> np.ndarray:
        """Return (num_sums,) float64 sums of a batch: outputs on any device, raw targets of the split."""

    def scores(self, sums: np.ndarray, splits: Sequence[Split]) -> dict[str, float]:
        """Return the scores of everything that was summed, the samples of ``splits``."""

    def train_scores(self, weight: float, loss: float, correct: float) -> dict[str, float]:
        """Return the scores of training steps by the sums of their ``Totals``."""

    def split(self, model: Layer) -> "tuple[Layer, Scoring]":
        """Return the part of ``model`` that has to run, and the scoring of its outputs (``split_head``)."""

    def readable(self, outputs: np.ndarray) -> np.ndarray:
        """Return outputs of the host as metrics take them: logits, or numbers in the units of the targets."""


class Classification:
    """Cross-entropy and the share of right predictions."""

    metric = "accuracy"
    names: tuple[str, ...] = ("loss", "accuracy")
    larger_is_better = True
    num_sums = 3

    def __init__(self, loss: Loss, metrics: MetricSet):
        self._loss, self.metrics = loss, metrics

    def sums(self, outputs: np.ndarray, targets: np.ndarray, saved: Context) -> np.ndarray:
        """Return weight, loss, correct."""
        device = saved.device
        return device.to_host(self._loss.evaluate(outputs, device.from_host(targets), saved)).astype(np.float64)

    def scores(self, sums: np.ndarray, splits: Sequence[Split]) -> dict[str, float]:
        """Return loss and accuracy."""
        return self.train_scores(*sums)

    def train_scores(self, weight: float, loss: float, correct: float) -> dict[str, float]:
        """Return loss and accuracy."""
        weight = max(1.0, weight)
        return {"loss": float(loss / weight), "accuracy": float(correct / weight)}

    def split(self, model: Layer) -> tuple[Layer, Scoring]:
        """Return the model without a large head, which is computed with the loss; metrics need all logits."""
        if self.metrics:
            return model, self
        body, loss = split_head(model, self._loss)
        return body, Classification(loss, self.metrics)

    def readable(self, outputs: np.ndarray) -> np.ndarray:
        """Return the logits as they are."""
        return outputs


class Regression:
    """Mean squared error in the units of the targets, its root, and R^2 (1 - error / variance, mean over outputs).

    Outputs are taken to the targets' units in float64, and compared with the targets as they are in the source: an
    error is small compared with an offset that float32 could not hold.

    Parameters
    ----------
    normalizer : Normalizer
        Normalizer of the targets; outputs are normalized like them.
    num_outputs : int
    metrics : MetricSet
    """

    metric = "mse"
    names: tuple[str, ...] = ("loss", "mse", "rmse", "r2")
    larger_is_better = False

    def __init__(self, normalizer: Normalizer, num_outputs: int, metrics: MetricSet):
        self._mean, self._std, self.metrics = normalizer.mean, normalizer.std, metrics
        self.num_sums = 1 + num_outputs

    def sums(self, outputs: np.ndarray, targets: np.ndarray, saved: Context) -> np.ndarray:
        """Return the number of samples, then the squared errors of each output."""
        outputs = saved.device.to_host(outputs).reshape(targets.shape)
        error = outputs * self._std - (targets - self._mean)
        return np.concatenate([[len(targets)], (error**2).sum(axis=0)])

    def train_scores(self, weight: float, loss: float, correct: float) -> dict[str, float]:
        """Return the loss."""
        return {"loss": float(loss / max(1.0, weight))}

    def scores(self, sums: np.ndarray, splits: Sequence[Split]) -> dict[str, float]:
        """Return loss (of normalized targets), mse, rmse and, unless all targets of an output are equal, r2."""
        targets = splits[0].y if len(splits) == 1 else np.concatenate([split.y for split in splits])
        count, errors = max(1.0, sums[0]), sums[1:]
        mse = float(np.mean(errors / count))
        scores = {"loss": float(np.mean(errors / self._std**2 / count)), "mse": mse, "rmse": mse**0.5}
        centered = targets - targets[:1].astype(np.float64)  # equal targets are exactly 0
        variance = np.square(centered - centered.mean(axis=0)).sum(axis=0)
        if (variance > 0).all():
            scores["r2"] = float(np.mean(1 - errors / variance))
        return scores

    def split(self, model: Layer) -> tuple[Layer, Scoring]:
        """Return all of the model, and this scoring."""
        return model, self

    def readable(self, outputs: np.ndarray) -> np.ndarray:
        """Return the predictions in the units of the targets, in float64."""
        return outputs.astype(np.float64) * self._std + self._mean


def check_scorable(normalizer: Normalizer) -> None:
    """Raise a UserError if squared errors of targets with these deviations do not fit in float64."""
    low, high = _SQUARABLE
    for std in normalizer.std:
        if not low < std < high:
            raise UserError(
                f"the targets vary by {std:.2g}, and squared errors of such numbers do not fit in float64: "
                f"{'divide' if std > 1 else 'multiply'} them by a constant"
            )


def check_scores(settings: Run, scoring: Scoring) -> None:
    """Raise a UserError if early stopping watches an unknown score."""
    rule = parse_early_stop(settings.early_stop)
    known = [*scoring.names, *(metric.name for metric in scoring.metrics.metrics)]
    if rule is not None and rule.score in [m.name for m in scoring.metrics.metrics if not m.is_number]:
        raise UserError(f"--early-stop watches {rule.score!r}, which is not a number")
    if rule is not None and rule.score not in known:
        raise UserError(
            f"--early-stop watches {rule.score!r}, which is not among the scores: there are {', '.join(known)}, and "
            "more with --metrics"
        )


SMALLER_IS_BETTER = ("loss", "mse", "rmse", "perplexity", "bits_per_byte")


def larger_is_better(name: str, scoring: Scoring) -> bool:
    """Return whether a score, of ``scoring`` or of a metric, is better where it is larger."""
    directions = {metric.name: metric.larger_is_better for metric in scoring.metrics.metrics}
    return directions.get(name, name not in SMALLER_IS_BETTER)


def make_scoring(
    loss: Loss,
    target_normalizer: Normalizer | None,
    num_outputs: int,
    metrics: str | Sequence[Spec] = "",
    *,
    task: str = CLASSIFICATION,
    token_bytes: np.ndarray | None = None,
) -> Scoring:
    """Return the scoring that fits the loss, with ``metrics`` (see ``metrics.names``).

    Parameters
    ----------
    task : str
        Tells language modeling and segmentation from classification.
    token_bytes : (V,) array, optional
        Bytes of text of each token.

    Raises
    ------
    UserError
        If there is no such metric, or it is for the other task.
    """
    if isinstance(loss, MSE):
        assert target_normalizer is not None
        return Regression(target_normalizer, num_outputs, make_metrics(metrics, num_outputs, REGRESSION))
    assert isinstance(loss, SoftmaxCrossEntropy)
    if task == LANGUAGE_MODELING:
        return LanguageModeling(loss, make_metrics(metrics, num_outputs, LANGUAGE_MODELING), token_bytes)
    if task == SEGMENTATION:
        return Segmentation(loss, make_metrics(metrics, num_outputs, SEGMENTATION), num_outputs)
    return Classification(loss, make_metrics(metrics, num_outputs, CLASSIFICATION))
