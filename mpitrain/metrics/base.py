"""Metric interface, and the two ways to keep its state.

Shapes: N samples, K classes or targets of each sample.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from .exact import ExactSums

IGNORED = -100  # the class of a sample that does not count, as in SoftmaxCrossEntropy

Task = Literal["classification", "regression", "any"]
LANGUAGE_MODELING = "language-modeling"
SEGMENTATION = "segmentation"


class Metric(ABC):
    """Score of outputs against targets, independent of the division of samples into batches and ranks.

    Each rank calls ``update`` for its samples and hands ``state`` to all others; each then calls ``merge`` with the
    states of all ranks, in their order, and ``result``.

    Parameters
    ----------
    num_outputs : int
        Classes, or targets of a sample.

    Attributes
    ----------
    name : str
        The key of its result among the scores.
    task : str
        The task that it is for: classification, regression or any. Sums for classification are for pixels, too.
    of_tokens : bool
        Whether it is for language modeling, too: its state does not grow with the tokens, nor with the vocabulary.
    larger_is_better : bool
    of_rankings : bool
        Whether outputs of items that the user of a sample has had before are -inf for it.
    is_number : bool
        False for one whose result is an array.
    """

    task: ClassVar[Task] = "any"
    of_tokens: ClassVar[bool] = False
    of_rankings: ClassVar[bool] = False
    larger_is_better = True
    is_number = True

    def __init__(self, num_outputs: int):
        self.num_outputs = num_outputs
        self.name = type(self).__name__.lower()
        self.reset()

    @abstractmethod
    def reset(self) -> None:
        """Forget all samples."""

    @abstractmethod
    def update(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Count samples.

        Parameters
        ----------
        outputs : (N, K) array
            Logits of classes, or predictions in the units of the targets.
        targets : (N,) array of int, or (N, K) array of float
            Of segmentation, targets (N, H, W) of outputs (N, H, W, K).
        weights : (N,) array of float, optional
            Weight of each sample; by default 1.
        """

    @abstractmethod
    def state(self) -> Any:
        """Return the state of the metric, picklable."""

    @abstractmethod
    def merge(self, states: Sequence[Any]) -> None:
        """Replace the state by the ``states`` of all ranks combined, in the order of ranks."""

    @abstractmethod
    def result(self) -> float | np.ndarray:
        """Return the score, NaN where it is not defined; an array is reported, but not watched or drawn."""


class SummedMetric(Metric):
    """A metric of sums over samples, which are exact: ``num_sums`` of them."""

    def __init__(self, num_outputs: int, num_sums: int):
        self._num_sums = num_sums
        super().__init__(num_outputs)

    def reset(self) -> None:
        """Forget all samples."""
        self.sums = ExactSums(self._num_sums)

    def state(self) -> Any:
        """Return the sums."""
        return self.sums.state()

    def merge(self, states: Sequence[Any]) -> None:
        """Add the sums of all ranks."""
        self.sums.merge(states)


class GatheredMetric(Metric):
    """A metric of all outputs at once: ``score`` gets those of all ranks, in the order of the data.

    Every rank holds them all for a moment: N (4 K + 8) bytes in classification, and 16 N K in regression.
    """

    def reset(self) -> None:
        """Forget all samples."""
        self._parts: list[tuple[np.ndarray, ...]] = []

    def update(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Keep a copy of the samples."""
        weights = np.ones(len(targets)) if weights is None else np.array(weights, np.float64)
        self._parts.append((np.array(outputs), np.array(targets), weights))

    def state(self) -> Any:
        """Return outputs, targets and, unless all are 1, weights; None if there is no sample."""
        outputs, targets, weights = self._joined()
        if not len(targets):
            return None
        return outputs, targets, None if (weights == 1).all() else weights

    def merge(self, states: Sequence[Any]) -> None:
        """Concatenate the samples of all ranks."""
        found = [state for state in states if state is not None]
        self._parts = [(x, y, np.ones(len(y)) if weights is None else weights) for x, y, weights in found]

    def result(self) -> float | np.ndarray:
        """Return the score of all samples; NaN if there are none."""
        outputs, targets, weights = self._joined()
        return self.score(outputs, targets, weights) if len(targets) else float("nan")

    @abstractmethod
    def score(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float | np.ndarray:
        """Return the score of at least one sample."""

    def _joined(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if not self._parts:
            return np.empty((0, self.num_outputs), np.float32), np.empty(0, np.int64), np.empty(0)
        outputs, targets, weights = (np.concatenate(arrays) for arrays in zip(*self._parts))
        return outputs, targets, weights


def class_rows(
    outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (M, K) outputs, (M,) classes and (M,) weights of the counted targets, per sample or token."""
    outputs, targets = outputs.reshape(targets.size, outputs.shape[-1]), targets.reshape(-1)
    weights = np.ones(targets.size) if weights is None else np.asarray(weights, np.float64).reshape(-1)
    counted = targets != IGNORED
    return (outputs, targets, weights) if counted.all() else (outputs[counted], targets[counted], weights[counted])


def divided(numerator: float, denominator: float) -> float:
    """Return a quotient; NaN where the denominator is 0."""
    return float(numerator) / float(denominator) if denominator else float("nan")
