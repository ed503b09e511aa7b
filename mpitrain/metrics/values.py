"""Metrics of numbers: mean absolute error and R^2.

Shapes: N samples, K targets of each.
"""

import numpy as np

from .base import SummedMetric, divided
from .exact import exact_product


class MAE(SummedMetric):
    """Mean absolute error, in the units of the targets, over samples and targets."""

    task = "regression"
    larger_is_better = False

    def __init__(self, num_outputs: int):
        super().__init__(num_outputs, 2)

    def update(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Add errors."""
        outputs, targets, weights = _columns(outputs, targets, weights)
        error = weights * np.abs(outputs - targets)
        self.sums.add(np.stack([np.broadcast_to(weights, error.shape), error], axis=-1))

    def result(self) -> float:
        """Return the mean."""
        total, error = self.sums.values()
        return divided(error, total)


class R2(SummedMetric):
    """Coefficient of determination, 1 - squared errors / squared deviations from the mean; the mean over targets.

    NaN where the targets of all samples are equal. Squares are summed without rounding, so that an offset of the
    targets costs no digits.
    """

    task = "regression"
    _WEIGHT, _ERROR, _TARGET, _SQUARE = range(4)

    def __init__(self, num_outputs: int):
        super().__init__(num_outputs, 4 * num_outputs)

    def update(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Add squared errors, targets and their squares."""
        outputs, targets, weights = _columns(outputs, targets, weights)
        with np.errstate(over="ignore"):
            errors = weights * np.square(outputs - targets)
        self._add(self._WEIGHT, np.broadcast_to(weights, errors.shape))
        self._add(self._ERROR, errors)
        for term in exact_product(weights, targets):
            self._add(self._TARGET, term)
        for term in exact_product(weights, targets, targets):
            self._add(self._SQUARE, term)

    def _add(self, kind: int, values: np.ndarray) -> None:
        self.sums.add(values, kind * self.num_outputs + np.arange(self.num_outputs))

    def result(self) -> float:
        """Return the mean over targets."""
        return float(np.mean([self._of_target(k) for k in range(self.num_outputs)]))

    def _of_target(self, k: int) -> float:
        weight, error, total, squares = (self.sums.fraction(kind * self.num_outputs + k) for kind in range(4))
        if weight is None or error is None or total is None or squares is None or not weight:
            return float("nan")
        variance = squares - total * total / weight
        return float(1 - error / variance) if variance > 0 else float("nan")


def _columns(
    outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (N, K) outputs and targets and (N, 1) weights, in float64."""
    outputs = np.asarray(outputs, np.float64)
    targets = np.asarray(targets, np.float64).reshape(outputs.shape)
    weights = np.ones(len(targets)) if weights is None else np.asarray(weights, np.float64)
    return outputs, targets, weights.reshape(-1, 1)
