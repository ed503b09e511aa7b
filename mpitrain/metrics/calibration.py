"""Quality of probabilities: calibration error and Brier score.

Shapes: M samples, or pixels; K classes; B bins.
"""

import numpy as np

from ..errors import UserError
from .base import SummedMetric, class_rows, divided


class CalibrationError(SummedMetric):
    """Expected calibration error (Naeini et al. 2015, AAAI; Guo et al. 2017, arXiv 1706.04599, equation 3).

    The sum over bins of (n_b / n) |accuracy_b - confidence_b|, where a sample's confidence is its largest probability,
    and bin b of B has those in ((b - 1) / B, b / B]. 0 is best: of the samples predicted with 80%, 80% are right. The
    sums of the bins are exact, so that any number of ranks has the same result; NaN if a logit is.

    Parameters
    ----------
    bins : int
        B, at least 1: 15 as in the second paper. More bins of fewer samples give a larger error.
    """

    task = "classification"
    larger_is_better = False

    def __init__(self, num_outputs: int, bins: int = 15):
        if bins < 1:
            raise UserError(f"the metric 'ece' needs at least one bin, not {bins}")
        self.bins = bins
        super().__init__(num_outputs, 3 * bins)
        self.name = "ece" if bins == 15 else f"ece{bins}"

    def update(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Add samples, right ones and confidences to the sums of their bins."""
        outputs, targets, weights = class_rows(outputs, targets, weights)
        if not len(targets):
            return
        found = probabilities(outputs)
        best = found.argmax(axis=1)
        confidence = found[np.arange(len(best)), best]
        places = np.nan_to_num(np.ceil(confidence * self.bins), nan=1.0).astype(np.int64)
        places = np.clip(places, 1, self.bins) - 1
        for kind, values in enumerate((weights, weights * (best == targets), weights * confidence)):
            self.sums.add(values, places + kind * self.bins)

    def result(self) -> float:
        """Return the error; NaN without samples."""
        counts, right, confidence = self.sums.values().reshape(3, self.bins)
        return divided(np.abs(right - confidence).sum(), counts.sum())


class Brier(SummedMetric):
    """Brier score: the mean of the sum over classes of (p_k - 1 where k is the class of the sample)^2.

    From 0, the best, to 2; with two classes it is twice the mean of (p_1 - class)^2 (Brier 1950, "Verification of
    forecasts expressed in terms of probability", Monthly Weather Review 78).
    """

    task = "classification"
    larger_is_better = False

    def __init__(self, num_outputs: int):
        super().__init__(num_outputs, 2)

    def update(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Add the sums of squares."""
        outputs, targets, weights = class_rows(outputs, targets, weights)
        found = probabilities(outputs)
        found[np.arange(len(targets)), targets] -= 1
        self.sums.add(np.stack([weights, weights * np.square(found).sum(axis=1)], axis=1))

    def result(self) -> float:
        """Return the mean; NaN without samples."""
        total, squares = self.sums.values()
        return divided(squares, total)


def probabilities(outputs: np.ndarray) -> np.ndarray:
    """Return the softmax of (M, K) logits, in float64."""
    shifted = outputs.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True, initial=-np.inf)
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=1, keepdims=True)
    return shifted
