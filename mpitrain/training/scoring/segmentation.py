"""Scores of segmentation: cross-entropy of pixels, the share of right ones, and mean intersection over union.

Shapes: n images of H x W pixels; K classes.
"""

from collections.abc import Sequence

import numpy as np

from ...context import Context
from ...data.dataset import UNLABELED, Split
from ...layers import Layer
from ...losses import Loss
from ...metrics import MetricSet
from ...metrics.overlap import mean_iou, overlaps


class Segmentation:
    """Cross-entropy, accuracy and mean intersection over union of all pixels that have a label.

    The sums are whole numbers below 2^53 but for the loss, so that accuracy and mean intersection over union are the
    same to the bit on any number of ranks.
    """

    metric = "miou"
    names: tuple[str, ...] = ("loss", "accuracy", "miou")
    larger_is_better = True

    def __init__(self, loss: Loss, metrics: MetricSet, num_classes: int):
        self._loss, self.metrics, self._num_classes = loss, metrics, num_classes
        self.num_sums = 3 + 3 * num_classes

    def sums(self, outputs: np.ndarray, targets: np.ndarray, saved: Context) -> np.ndarray:
        """Return weight, loss, correct, and the ``overlaps`` of classes."""
        device = saved.device
        found = device.to_host(self._loss.evaluate(outputs, device.from_host(targets), saved))
        counted = targets != UNLABELED
        predicted = device.to_host(outputs.argmax(axis=-1))
        counts = overlaps(predicted[counted], targets[counted], self._num_classes)
        return np.concatenate([np.asarray(found, np.float64), counts])

    def scores(self, sums: np.ndarray, splits: Sequence[Split]) -> dict[str, float]:
        """Return loss, accuracy and mean intersection over union."""
        return self.train_scores(*sums[:3]) | {"miou": mean_iou(sums[3:])}

    def train_scores(self, weight: float, loss: float, correct: float) -> dict[str, float]:
        """Return loss and accuracy: steps do not count classes."""
        weight = max(1.0, weight)
        return {"loss": float(loss / weight), "accuracy": float(correct / weight)}

    def split(self, model: Layer) -> "tuple[Layer, Segmentation]":
        """Return all of the model, and this scoring."""
        return model, self

    def readable(self, outputs: np.ndarray) -> np.ndarray:
        """Return the logits as they are."""
        return outputs
