"""Area under the ROC curve, exact: the probability that a sample of a class scores above one of the others.

Shapes: N samples, K classes.
"""

from abc import abstractmethod

import numpy as np

from .base import GatheredMetric, class_rows


class OneAgainstTheRest(GatheredMetric):
    """A metric of the ranking of samples by the score of a class: of class 1 of two, or the mean over all classes.

    Classes without a value are left out of the mean; NaN if there is no other, or if an output is NaN.

    Scores are log odds, log(p / (1 - p)) of the softmax p: ordered as p, but without ties where p rounds to 1. They
    are computed in float64 and rounded to float32, so that equal ones are equal whatever the order of the classes.
    Every rank holds all outputs, N (4 K + 8) bytes, and about 60 N bytes for one class at a time.
    """

    task = "classification"

    def update(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Keep a copy of the outputs."""
        super().update(*class_rows(outputs, targets, weights))

    def score(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
        """Return the mean over classes."""
        if np.isnan(outputs).any():
            return float("nan")
        classes = [1] if self.num_outputs == 2 else range(self.num_outputs)
        odds = LogOdds(outputs)
        values = [self.of_class(odds(k), targets == k, weights) for k in classes]
        defined = [value for value in values if not np.isnan(value)]
        return float(np.mean(defined)) if defined else float("nan")

    @abstractmethod
    def of_class(self, scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> float:
        """Return the value for (N,) scores of samples, of which some are ``positive``; NaN if it has none."""


class AUC(OneAgainstTheRest):
    """Area under the ROC curve, by ranks (Mann and Whitney 1947); ties count half.

    Two classes: of class 1 against class 0. More: the mean over classes of one against the rest (Fawcett 2006, section
    9), of those classes that have samples and are not all samples. See ``OneAgainstTheRest``.
    """

    def of_class(self, scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> float:
        """Return the area."""
        return area_under_roc(scores, positive, weights)


class LogOdds:
    """log(p_k / (1 - p_k)) of p = softmax(outputs) = z_k - log(sum of exp z_j over j != k), one class at a time."""

    def __init__(self, outputs: np.ndarray):
        self._outputs = outputs
        rows = np.arange(len(outputs))
        self._top = outputs.argmax(axis=1)
        self._largest = outputs[rows, self._top].astype(np.float64)
        self._rest = np.zeros(len(outputs))  # of exp(z - largest), without the largest
        for k in range(outputs.shape[1]):
            self._rest += np.where(self._top == k, 0.0, np.exp(self._shifted(k)))

    def __call__(self, k: int) -> np.ndarray:
        """Return (N,) float32 log odds of class ``k``."""
        shifted = self._shifted(k)
        others = np.where(self._top == k, self._rest, 1 + np.maximum(self._rest - np.exp(shifted), 0))
        with np.errstate(divide="ignore"):  # all others are 0: infinite odds
            found: np.ndarray = (shifted - np.log(others)).astype(np.float32)
        return found

    def _shifted(self, k: int) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            shifted: np.ndarray = np.nan_to_num(self._outputs[:, k] - self._largest, nan=0.0, neginf=-np.inf)
        return shifted


def area_under_roc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> float:
    """Return the area of (N,) scores; NaN unless there are positive and negative samples.

    >>> area_under_roc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]), np.ones(4))
    0.875
    """
    order = np.argsort(scores, kind="stable")
    scores = scores[order]
    first = np.flatnonzero(np.concatenate([[True], scores[1:] != scores[:-1]]))  # of each group of equal scores
    above, below = (np.add.reduceat(np.where(which, weights, 0.0)[order], first) for which in (positive, ~positive))
    pairs = above.sum() * below.sum()
    if not pairs > 0:
        return float("nan")
    smaller = np.cumsum(below) - below
    return float((above * (smaller + below / 2)).sum() / pairs)
