"""A function (outputs, targets) -> number as a metric."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import UserError
from .base import GatheredMetric


class FunctionMetric(GatheredMetric):
    """A function of all outputs and targets of a split, in the order of the data: the same on any number of ranks.

    Parameters
    ----------
    function : callable(outputs, targets, **options) -> float
        Outputs are (N, K) logits, or predictions in the units of the targets; targets (N,) classes, or (N, K) numbers.
        A larger result counts as better, unless the function has an attribute ``larger_is_better`` = False.
    options : mapping
        Its keyword arguments.
    where : str
        Name of the function in messages.
    """

    def __init__(self, num_outputs: int, function: Callable[..., Any], options: Mapping[str, Any], where: str = ""):
        super().__init__(num_outputs)
        self.name = getattr(function, "__name__", "metric")
        self.larger_is_better = bool(getattr(function, "larger_is_better", True))
        self._function, self._options, self._where = function, dict(options), where or self.name

    def score(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
        """Return the result of the function.

        Raises
        ------
        UserError
            If it fails, or does not return a number.
        """
        try:
            found = self._function(outputs, targets, **self._options)
        except Exception as error:
            raise UserError(f"{self._where} failed: {type(error).__name__}: {error}") from error
        try:
            return float(found)
        except (TypeError, ValueError):
            raise UserError(f"{self._where} must return a number, but it returned a {type(found).__name__}") from None
