"""Losses: sums over samples, never means, so that any division of a batch among ranks adds up to the same number.

The optimizer divides gradients once by the global weight.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .context import Context
from .errors import UserError
from .ops.mse import squared_error, squared_error_dx
from .ops.softmax_cross_entropy import (
    check_classes,
    cross_entropy,
    cross_entropy_dx,
    cross_entropy_gradient,
    soft_cross_entropy,
)
from .registry import Registry

_IS_GRADIENT = "gradient"  # the state of a loss whose forward has computed the gradient
SQUARED_ERROR_PARTS = 256  # the most blocks of a GPU that add up squares


class Totals(NamedTuple):
    """Sums over the samples of a batch: add them over ranks and microbatches, then divide by ``weight``.

    On a GPU a loss returns an array (3,) of the device instead; ``Arena.add_totals`` and ``Device.to_host`` take both.
    """

    weight: float  # the number of counted targets, or of elements
    loss: float
    correct: float  # targets for which the largest output is the right one; 0 in regression


class Loss(ABC):
    """The contract of a loss: the end of forward and the start of backward."""

    @abstractmethod
    def forward(self, outputs: np.ndarray, targets: np.ndarray, ctx: Context) -> Totals:
        """Return the sums and put into ``ctx[self]`` the state for backward. ``outputs`` is not changed."""

    @abstractmethod
    def backward(self, ctx: Context) -> np.ndarray:
        """Return the gradient of the sum of losses by ``outputs``, memory of ``ctx``; once for each forward."""

    def evaluate(self, outputs: np.ndarray, targets: np.ndarray, ctx: Context) -> Totals:
        """Return the sums; no backward follows."""
        return self.forward(outputs, targets, ctx)

    def gradient(self, outputs: np.ndarray, targets: np.ndarray, ctx: Context) -> tuple[Totals, np.ndarray]:
        """Return the sums and their gradient by ``outputs``, which may be written over."""
        return self.forward(outputs, targets, ctx), self.backward(ctx)

    def memory(self) -> int:
        """Return the bytes that it holds besides those of a ``Context``."""
        return 0

    def diagnose(self, targets: np.ndarray, num_outputs: int) -> str:
        """Return the error in targets of the host that ``forward`` turned into NaN on a GPU; "" if there is none."""
        return ""


class SoftmaxCrossEntropy(Loss):
    """Cross-entropy of softmax(outputs) against integer targets, or against probabilities of the classes.

    Parameters
    ----------
    label_smoothing : float
        Part of each target's probability that is spread evenly over all classes (Szegedy et al. 2015).
    ignore_index : int
        Targets of this value count for nothing: no weight, no loss, no gradient.
    class_weights : sequence of float
        One for each class: the loss and the gradient of a sample are multiplied by the weight of its class. The weight
        in ``Totals`` stays the number of samples, so that accuracy is what it is without; weights whose mean over the
        training samples is 1 keep the loss a mean. Empty for none.

    Notes
    -----
    outputs (..., K), targets (...) integer or (..., K) float; the formula is in ``ops/softmax_cross_entropy.py``.
    Probabilities, which add up to 1, are those of mixed samples; a row is correct by the one of the largest output.
    """

    def __init__(self, label_smoothing: float = 0.0, ignore_index: int = -100, class_weights: Sequence[float] = ()):
        if not 0 <= label_smoothing <= 1:
            raise UserError(f"label smoothing must lie in [0, 1], but it is {label_smoothing}")
        if not all(0 <= weight < math.inf for weight in class_weights):
            raise UserError(
                f"class weights must be numbers, 0 or more, but they are {' '.join(map(str, class_weights))}"
            )
        self.label_smoothing, self.ignore_index = label_smoothing, ignore_index
        self.class_weights = tuple(class_weights)

    def forward(self, outputs: np.ndarray, targets: np.ndarray, ctx: Context) -> Totals:
        """Return (counted targets, the sum of their losses, the number of correct ones)."""
        if targets.dtype.kind not in "iu":
            _check_probabilities(targets, outputs)
            dlogits = ctx.empty(self, "e", outputs.shape, outputs.dtype)
            ctx[self] = dlogits, _IS_GRADIENT, outputs.shape
            return self._soft(outputs, targets, dlogits, ctx)
        logits, flat = outputs.reshape(targets.size, outputs.shape[-1]), targets.reshape(-1)
        e = ctx.empty(self, "e", logits.shape, logits.dtype)  # exp of the logits; backward turns it into their gradient
        sums = ctx.empty(self, "sums", (targets.size + 1, 3), ctx.sum_dtype)
        weights = self._weights(logits.shape[1], ctx) if self.class_weights else None
        found: Any
        found, state = cross_entropy(logits, flat, self.label_smoothing, self.ignore_index, e, sums, weights)
        ctx[self] = e, state, outputs.shape
        return Totals(*found) if isinstance(found, list) else _totals(found)

    def gradient(
        self, outputs: np.ndarray, targets: np.ndarray, ctx: Context, before: Any = None
    ) -> tuple[Totals, np.ndarray]:
        """Return the sums and their gradient, in the memory of ``outputs``.

        The sums are added to ``before``, which this has returned for other rows: on a GPU in the same memory.
        """
        if targets.dtype.kind not in "iu":
            _check_probabilities(targets, outputs)
            return add_totals(before, self._soft(outputs, targets, outputs, ctx)), outputs
        logits, flat = outputs.reshape(targets.size, outputs.shape[-1]), targets.reshape(-1)
        weights = self._weights(logits.shape[1], ctx) if self.class_weights else None
        how = self.label_smoothing, self.ignore_index, weights
        if isinstance(outputs, np.ndarray):
            return add_totals(before, _totals(cross_entropy_gradient(logits, flat, *how))), outputs
        totals: Any = ctx.empty(self, "totals", (3,), np.float32) if before is None else before
        return cross_entropy_gradient(logits, flat, *how, totals, before is not None), outputs

    def _soft(self, outputs: np.ndarray, targets: np.ndarray, dlogits: np.ndarray, ctx: Context) -> Totals:
        """Return the sums for probabilities, and write the gradient."""
        shape = math.prod(outputs.shape[:-1]), outputs.shape[-1]
        weights = self._weights(shape[1], ctx) if self.class_weights else None
        logits, probabilities, gradient = (array.reshape(shape) for array in (outputs, targets, dlogits))
        return _totals(soft_cross_entropy(logits, probabilities, self.label_smoothing, gradient, weights))

    def _weights(self, num_classes: int, ctx: Context) -> np.ndarray:
        """Return the class weights on the device of the logits."""
        if len(self.class_weights) != num_classes:
            raise UserError(
                f"there are {len(self.class_weights)} class weights, but the model has {num_classes} outputs"
            )
        key = self, "class weights"
        if key not in ctx:
            ctx[key] = ctx.device.from_host(np.array(self.class_weights, ctx.sum_dtype))
        found: np.ndarray = ctx[key]
        return found

    def diagnose(self, targets: np.ndarray, num_outputs: int) -> str:
        """Return the message about a target without an output."""
        if targets.dtype.kind == "f":
            return ""
        try:
            check_classes(targets.reshape(-1), num_outputs, self.ignore_index)
        except UserError as error:
            return str(error)
        return ""

    def backward(self, ctx: Context) -> np.ndarray:
        """Return softmax(outputs) - smoothed one-hot targets, 0 for ignored targets."""
        e, state, shape = ctx[self]
        if state is not _IS_GRADIENT:
            cross_entropy_dx(e, state, self.label_smoothing)
        gradient: np.ndarray = e.reshape(shape)
        return gradient


class MSE(Loss):
    """Squared error, sum (y - t)^2: with weight = number of elements, its mean is the usual mean squared error.

    Notes
    -----
    outputs and targets have the same shape (...); targets (N,) may stand for (N, 1). Gradient: 2 (y - t).
    """

    def forward(self, outputs: np.ndarray, targets: np.ndarray, ctx: Context) -> Totals:
        """Return (number of elements, sum of squares, 0)."""
        if targets.shape != outputs.shape and (*targets.shape, 1) != outputs.shape:
            raise UserError(
                f"squared error needs targets in the shape of the outputs, {_shape(outputs)} for each sample, "
                f"but they are {_shape(targets)}"
            )
        difference = ctx[self] = ctx.empty(self, "difference", outputs.shape, outputs.dtype)
        sums = ctx.empty(self, "sums", (SQUARED_ERROR_PARTS + 1, 3), ctx.sum_dtype)
        return _totals(squared_error(outputs, targets.reshape(outputs.shape), difference, sums))

    def backward(self, ctx: Context) -> np.ndarray:
        """Return 2 (y - t)."""
        difference: np.ndarray = ctx[self]
        squared_error_dx(difference)
        return difference


class DividedLoss(Loss):
    """A loss of outputs of which each rank has a part.

    Parameters
    ----------
    loss : Loss
    targets : callable(array) -> array
        Returns the part of a batch of targets that belongs to the outputs of this rank.
    """

    def __init__(self, loss: Loss, targets: Callable[[Any], Any]):
        self.loss, self.targets = loss, targets

    def forward(self, outputs: np.ndarray, targets: np.ndarray, ctx: Context) -> Totals:
        """Return the sums over the part of this rank."""
        return self.loss.forward(outputs, self.targets(targets), ctx)

    def backward(self, ctx: Context) -> np.ndarray:
        """Return the gradient by the outputs of this rank."""
        return self.loss.backward(ctx)

    def evaluate(self, outputs: np.ndarray, targets: np.ndarray, ctx: Context) -> Totals:
        """Return the sums over the part of this rank; no backward follows."""
        return self.loss.evaluate(outputs, self.targets(targets), ctx)

    def gradient(self, outputs: np.ndarray, targets: np.ndarray, ctx: Context) -> tuple[Totals, np.ndarray]:
        """Return the sums over the part of this rank, and their gradient."""
        return self.loss.gradient(outputs, self.targets(targets), ctx)

    def memory(self) -> int:
        """Return the bytes that the loss holds besides those of a ``Context``."""
        return self.loss.memory()

    def diagnose(self, targets: np.ndarray, num_outputs: int) -> str:
        """Return the error in targets."""
        return self.loss.diagnose(targets, num_outputs)


LOSSES: Registry[Loss] = Registry("loss", {"cross_entropy": SoftmaxCrossEntropy, "mse": MSE}, arguments=(), result=Loss)


def add_totals(before: Any, found: Any) -> Any:
    """Return the sum of totals; ``before`` may be None."""
    if before is None:
        return found
    return Totals(*map(sum, zip(before, found, strict=True))) if isinstance(found, Totals) else before + found


def _totals(found: Any) -> Totals:
    """Return the sums as ``Totals``; an array of a device stays as it is, since reading it would wait."""
    return Totals(*found) if isinstance(found, tuple | list) else found


def _check_probabilities(targets: np.ndarray, outputs: np.ndarray) -> None:
    """Raise a UserError unless targets are a number for each output."""
    if targets.dtype.kind != "f" or targets.shape != outputs.shape:
        raise UserError(f"cross-entropy needs integer targets (class numbers), but they are {targets.dtype}")


def _shape(batch: np.ndarray) -> tuple[int, ...]:
    return batch.shape[1:]
