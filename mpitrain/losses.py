"""Losses: sums over samples, never means, so that any split of a batch over ranks adds up to the same number.

The optimizer divides gradients once by the global weight.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np

from . import ops
from .errors import UserError
from .saved import Saved

SQUARED_ERROR_PARTS = 256  # blocks of a GPU, at most, that add up squares


class Totals(NamedTuple):
    """Sums over the samples of a batch: add them up over ranks and microbatches, then divide by ``weight``.

    On a GPU a loss gives an array (3,) of the device instead; ``Arena.add_totals`` and ``Device.to_host`` take both.
    """

    weight: float  # what the means are over: counted targets, or elements
    loss: float
    correct: float  # targets that the largest output has right; 0 in regression


class Loss(ABC):
    """The contract of a loss: the end of forward and the start of backward."""

    @abstractmethod
    def forward(self, outputs: np.ndarray, targets: np.ndarray, saved: Saved) -> Totals:
        """Return the sums and put on ``saved[self]`` what backward needs. ``outputs`` is not changed."""

    @abstractmethod
    def backward(self, saved: Saved) -> np.ndarray:
        """Return the gradient of the sum of losses by ``outputs``, a buffer of ``saved``; once for each forward."""

    def evaluate(self, outputs: np.ndarray, targets: np.ndarray, saved: Saved) -> Totals:
        """Return the sums; no backward follows."""
        return self.forward(outputs, targets, saved)

    def complaint(self, targets: np.ndarray, num_outputs: int) -> str:
        """Return what is wrong with targets of the host, which ``forward`` has taken for a NaN on a GPU; else ""."""
        return ""


class SoftmaxCrossEntropy(Loss):
    """Cross-entropy of softmax(outputs) against integer targets.

    Parameters
    ----------
    label_smoothing : float
        Part of each target's probability that is spread evenly over all classes (Szegedy et al. 2015).
    ignore_index : int
        Targets of this value count for nothing: no weight, no loss, no gradient.

    Notes
    -----
    outputs (..., K), targets (...) integer; the formula is in ``ops/softmax_cross_entropy.py``.
    """

    def __init__(self, label_smoothing: float = 0.0, ignore_index: int = -100):
        if not 0 <= label_smoothing <= 1:
            raise UserError(f"label smoothing must lie in [0, 1], but it is {label_smoothing}")
        self.label_smoothing, self.ignore_index = label_smoothing, ignore_index

    def forward(self, outputs: np.ndarray, targets: np.ndarray, saved: Saved) -> Totals:
        """Return (counted targets, their loss, how many of them are the largest output)."""
        if not np.issubdtype(targets.dtype, np.integer):
            raise UserError(f"cross-entropy needs integer targets (class numbers), but they are {targets.dtype}")
        logits = outputs.reshape(targets.size, outputs.shape[-1])
        exponentials = saved.empty(self, "exponentials", logits.shape)
        sums = saved.empty(self, "sums", (targets.size + 1, 3))
        classes, smoothing = targets.reshape(-1), self.label_smoothing
        totals, kept = ops.cross_entropy(logits, classes, smoothing, self.ignore_index, exponentials, sums)
        saved[self] = exponentials, kept, outputs.shape
        return _totals(totals)

    def complaint(self, targets: np.ndarray, num_outputs: int) -> str:
        """Return which target no output stands for."""
        try:
            ops.check_classes(targets.reshape(-1), num_outputs, self.ignore_index)
        except UserError as error:
            return str(error)
        return ""

    def backward(self, saved: Saved) -> np.ndarray:
        """Return softmax(outputs) - smoothed one-hot targets, 0 for ignored targets."""
        exponentials, kept, shape = saved[self]
        ops.cross_entropy_dx(exponentials, kept, self.label_smoothing)
        return exponentials.reshape(shape)


class MSE(Loss):
    """Squared error, sum (y - t)^2: with weight = number of elements, its mean is the usual mean squared error.

    Notes
    -----
    outputs and targets (...), alike; targets (N,) may stand for (N, 1). Gradient: 2 (y - t).
    """

    def forward(self, outputs: np.ndarray, targets: np.ndarray, saved: Saved) -> Totals:
        """Return (number of elements, sum of squares, 0)."""
        if targets.shape != outputs.shape and (*targets.shape, 1) != outputs.shape:
            raise UserError(
                f"squared error needs targets in the shape of the outputs, {_shape(outputs)} for each sample, "
                f"but they are {_shape(targets)}"
            )
        difference = saved[self] = saved.empty(self, "difference", outputs.shape)
        sums = saved.empty(self, "sums", (SQUARED_ERROR_PARTS + 1, 3))
        return _totals(ops.squared_error(outputs, targets.reshape(outputs.shape), difference, sums))

    def backward(self, saved: Saved) -> np.ndarray:
        """Return 2 (y - t)."""
        difference = saved[self]
        ops.squared_error_dx(difference)
        return difference


def _totals(found: Any) -> Totals:
    """Return the sums as ``Totals``; where they are an array of a device, as they are, since reading would wait."""
    return Totals(*found) if isinstance(found, tuple | list) else found


def _shape(batch: np.ndarray) -> tuple[int, ...]:
    return batch.shape[1:]
