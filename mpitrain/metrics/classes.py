"""Metrics of classes that are counts: accuracy, the best k, the confusion matrix and F1.

The predicted class is the first of the largest outputs, as NumPy's argmax has it: a NaN counts as larger than any
number.
"""

from typing import Literal

import numpy as np

from ..errors import UserError
from .base import SummedMetric, class_rows, divided


class Accuracy(SummedMetric):
    """Share of the samples whose class has the largest output."""

    task = "classification"
    of_tokens = True

    def __init__(self, num_outputs: int):
        super().__init__(num_outputs, 2)

    def update(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Count samples and correct predictions."""
        outputs, targets, weights = class_rows(outputs, targets, weights)
        self.sums.add(np.stack([weights, weights * self.is_right(outputs, targets)], axis=1))

    def is_right(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return (N,) bool."""
        right: np.ndarray = outputs.argmax(axis=1) == targets
        return right

    def result(self) -> float:
        """Return the share of correct predictions."""
        total, right = self.sums.values()
        return divided(right, total)


class TopK(Accuracy):
    """Share of the samples whose class is among the k largest outputs; earlier ones win ties.

    Parameters
    ----------
    k : int
        From 1 to the number of classes.
    """

    def __init__(self, num_outputs: int, k: int = 5):
        if not 1 <= k <= num_outputs:
            raise UserError(f"the metric 'top{k}' needs {max(k, 1)} classes or more, and there are {num_outputs}")
        super().__init__(num_outputs)
        self.k, self.name = k, f"top{k}"

    def is_right(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return (N,) bool: fewer than k outputs come before that of the target."""
        own = outputs[np.arange(len(targets)), targets][:, None]
        lacks, own_lacks = np.isnan(outputs), np.isnan(own)
        equal = (outputs == own) | (lacks & own_lacks)
        before = np.arange(outputs.shape[1]) < targets[:, None]
        larger = (outputs > own) | (lacks & ~own_lacks)
        right: np.ndarray = (larger | (equal & before)).sum(axis=1) < self.k
        return right


class Top5(TopK):
    """Share of the samples whose class is among the 5 largest outputs (topk:k=5)."""

    def __init__(self, num_outputs: int):
        super().__init__(num_outputs, 5)


class Confusion(SummedMetric):
    """Confusion matrix (K, K): number of samples of each class (row) predicted as each class (column)."""

    task = "classification"
    is_number = False

    def __init__(self, num_outputs: int):
        super().__init__(num_outputs, num_outputs * num_outputs)

    def update(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Count samples by their class and the predicted one."""
        outputs, targets, weights = class_rows(outputs, targets, weights)
        if len(targets):
            self.sums.add(weights, targets * self.num_outputs + outputs.argmax(axis=1))

    def result(self) -> float | np.ndarray:
        """Return the matrix as (K, K) float64."""
        return self.matrix()

    def matrix(self) -> np.ndarray:
        """Return the matrix as (K, K) float64."""
        return self.sums.values().reshape(self.num_outputs, self.num_outputs)


class F1(Confusion):
    """F1 = 2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall (van Rijsbergen 1979).

    Parameters
    ----------
    average : str
        macro: the mean over classes that occur, as target or as prediction; weighted: over classes, by their samples;
        micro: of the sums over classes, which is the accuracy; binary: that of class 1 of two.
    """

    is_number = True

    def __init__(self, num_outputs: int, average: Literal["macro", "micro", "weighted", "binary"] = "macro"):
        if average == "binary" and num_outputs != 2:
            raise UserError(f"the metric 'f1:average=binary' is for two classes, and there are {num_outputs}")
        super().__init__(num_outputs)
        self.average, self.name = average, "f1" if average == "macro" else f"f1_{average}"

    def result(self) -> float:
        """Return the score; NaN without samples."""
        matrix = self.matrix()
        right, targets, predictions = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
        if self.average == "micro":
            return divided(right.sum(), targets.sum())
        occur = targets + predictions > 0
        each = np.divide(2 * right, targets + predictions, out=np.zeros(self.num_outputs), where=occur)
        if self.average == "binary":
            return float(each[1]) if occur.any() else float("nan")
        weights = targets if self.average == "weighted" else occur
        return divided((each * weights).sum(), weights.sum())
