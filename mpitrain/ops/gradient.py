"""Where the gradient of a parameter goes."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


def _nobody_waits() -> None:
    """Nothing."""


class Gradient(NamedTuple):
    """The memory of a gradient, and whether this step has put a part of it there already, to be added to.

    Who has put it calls ``written`` at once: before a sum over ranks, since another shard's part may come next.
    """

    array: np.ndarray
    accumulate: bool
    written: Callable[[], None] = _nobody_waits

    def put(self, gradient: np.ndarray) -> None:
        """Store ``gradient``, or add it; then it is written."""
        if self.accumulate:
            np.add(self.array, gradient, out=self.array, casting="same_kind")
        else:
            self.array[...] = gradient
        self.written()
