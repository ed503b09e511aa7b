"""Intersection over union of classes: the score of segmentation.

Shapes: K classes; M samples, or pixels.
"""

import numpy as np

from .base import SummedMetric, class_rows


class IoU(SummedMetric):
    """Intersection over union of each class (K,): TP / (TP + FP + FN) (Jaccard 1912); NaN for one that never occurs."""

    task = "classification"
    is_number = False

    def __init__(self, num_outputs: int):
        super().__init__(num_outputs, 3 * num_outputs)

    def update(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Count samples that are right, those of each class, and those predicted as each class."""
        alike = weights is None
        outputs, targets, weights = class_rows(outputs, targets, weights)
        predicted, count = outputs.argmax(axis=1), self.num_outputs
        if alike:
            self.sums.add(overlaps(predicted, targets, count)[None])
            return
        right = predicted == targets
        for values, classes, first in (
            (weights[right], targets[right], 0),
            (weights, targets, 1),
            (weights, predicted, 2),
        ):
            self.sums.add(values, classes + first * count)

    def result(self) -> float | np.ndarray:
        """Return that of each class."""
        return iou_of(self.sums.values())


class MeanIoU(IoU):
    """Mean of the intersections over union of the classes that occur, as target or as prediction."""

    is_number = True

    def __init__(self, num_outputs: int):
        super().__init__(num_outputs)
        self.name = "miou"

    def result(self) -> float:
        """Return the mean; NaN without samples."""
        return mean_iou(self.sums.values())


def overlaps(predicted: np.ndarray, targets: np.ndarray, num_classes: int) -> np.ndarray:
    """Return (3K,) float64: the number of right samples, of all samples and of predictions of each class.

    Parameters
    ----------
    predicted, targets : (M,) arrays of int
    """
    parts = (targets[predicted == targets], targets, predicted)
    return np.concatenate([np.bincount(part, minlength=num_classes) for part in parts]).astype(np.float64)


def iou_of(sums: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each class (K,), given sums of ``overlaps``."""
    right, targets, predictions = sums.reshape(3, -1)
    union = targets + predictions - right
    each: np.ndarray = np.divide(right, union, out=np.full(len(right), np.nan), where=union > 0)
    return each


def mean_iou(sums: np.ndarray) -> float:
    """Return the mean over the classes that occur, given sums of ``overlaps``; NaN if there is none."""
    each = iou_of(sums)
    found = each[~np.isnan(each)]
    return float(found.mean()) if len(found) else float("nan")
