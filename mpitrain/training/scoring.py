"""How good the outputs are, as sums that add up over batches and ranks."""

from typing import Protocol

import numpy as np

from ..data.normalize import Normalizer
from ..losses import MSE, Loss, SoftmaxCrossEntropy
from ..saved import Saved


class Scoring(Protocol):
    """Turns a batch into sums, and the sums of all ranks into named scores."""

    metric: str
    """The score that is watched: accuracy or mse."""
    larger_is_better: bool
    num_sums: int

    def sums(self, outputs: np.ndarray, targets: np.ndarray, saved: Saved) -> np.ndarray:
        """Return (num_sums,) float64 sums of a batch."""

    def scores(self, sums: np.ndarray) -> dict[str, float]:
        """Return the scores of everything that was summed."""


class Classification:
    """Cross-entropy and the share of right predictions."""

    metric = "accuracy"
    larger_is_better = True
    num_sums = 3

    def __init__(self, loss: SoftmaxCrossEntropy):
        self._loss = loss

    def sums(self, outputs: np.ndarray, targets: np.ndarray, saved: Saved) -> np.ndarray:
        """Return weight, loss, correct."""
        return saved.device.to_host(self._loss.evaluate(outputs, targets, saved)).astype(np.float64)

    def scores(self, sums: np.ndarray) -> dict[str, float]:
        """Return loss and accuracy."""
        weight = max(1.0, sums[0])
        return {"loss": float(sums[1] / weight), "accuracy": float(sums[2] / weight)}


class Regression:
    """Mean squared error in the units of the targets, its root, and R^2 (1 - error / variance, mean over outputs)."""

    metric = "mse"
    larger_is_better = False

    def __init__(self, loss: MSE, normalizer: Normalizer, num_outputs: int):
        self._loss = loss
        self._std = np.asarray(normalizer.std, np.float64)
        self._num_outputs = num_outputs
        self.num_sums = 3 + 3 * num_outputs

    def sums(self, outputs: np.ndarray, targets: np.ndarray, saved: Saved) -> np.ndarray:
        """Return weight, loss, number of samples; then squared errors, targets, squared targets for each output."""
        weight, loss, _ = saved.device.to_host(self._loss.evaluate(outputs, targets, saved))
        outputs, targets = saved.device.to_host(outputs), saved.device.to_host(targets)
        y = targets.astype(np.float64).reshape(len(targets), self._num_outputs)
        error = outputs.reshape(y.shape) - y
        columns = ((error**2).sum(0) * self._std**2, y.sum(0), (y**2).sum(0))
        return np.concatenate([[weight, loss, len(y)], *columns])

    def scores(self, sums: np.ndarray) -> dict[str, float]:
        """Return loss (normalised targets), mse, rmse and, unless all targets are equal, r2."""
        weight, loss, count = sums[:3]
        errors, totals, squares = sums[3:].reshape(3, self._num_outputs)
        count = max(1.0, count)
        mse = float(errors.sum() / (count * self._num_outputs))
        variance = (squares - totals**2 / count) * self._std**2
        scores = {"loss": float(loss / max(1.0, weight)), "mse": mse, "rmse": mse**0.5}
        if (variance > 1e-12 * self._std**2).all():
            scores["r2"] = float(np.mean(1 - errors / variance))
        return scores


def make_scoring(loss: Loss, target_normalizer: Normalizer | None, num_outputs: int) -> Scoring:
    """Return the scoring that fits the loss."""
    if isinstance(loss, MSE):
        assert target_normalizer is not None
        return Regression(loss, target_normalizer, num_outputs)
    assert isinstance(loss, SoftmaxCrossEntropy)
    return Classification(loss)
