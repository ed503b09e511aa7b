"""Average precision, exact: the area under the steps of the curve of precision over recall.

Shapes: N samples, K classes.
"""

import numpy as np

from .auc import OneAgainstTheRest


class AveragePrecision(OneAgainstTheRest):
    """Average precision: the sum over scores of (R_n - R_{n-1}) P_n, as scikit-learn has it; equal scores are one step.

    P_n and R_n are precision and recall where samples with the n-th largest score or a larger one count as found; there
    is no interpolation between them, which is too optimistic (Davis and Goadrich 2006, "The relationship between
    precision-recall and ROC curves"; Manning et al. 2008, "Introduction to information retrieval", section 8.4).

    Two classes: of class 1. More: the mean over classes of one against the rest, of those that have samples. See
    ``OneAgainstTheRest``.
    """

    def __init__(self, num_outputs: int):
        super().__init__(num_outputs)
        self.name = "ap"

    def of_class(self, scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> float:
        """Return the average precision."""
        return average_precision(scores, positive, weights)


def average_precision(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> float:
    """Return that of (N,) scores; NaN without positive samples.

    >>> scores, positive = np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])
    >>> round(average_precision(scores, positive, np.ones(4)), 4)
    0.8333
    """
    order = np.argsort(-scores, kind="stable")
    scores, positive, weights = scores[order], positive[order], weights[order]
    last = np.flatnonzero(np.concatenate([scores[1:] != scores[:-1], [True]]))  # of each group of equal scores
    found = np.cumsum(np.where(positive, weights, 0.0))[last]
    counted = np.cumsum(weights)[last]
    if not len(found) or not found[-1] > 0:
        return float("nan")
    precision = np.divide(found, counted, out=np.zeros(len(found)), where=counted > 0)
    return float((np.diff(found, prepend=0.0) * precision).sum() / found[-1])
