"""Where the gradient of a parameter goes."""

from typing import NamedTuple

import numpy as np


class Gradient(NamedTuple):
    """The memory of a gradient, and whether this step has put a part of it there already, to be added to."""

    array: np.ndarray
    accumulate: bool

    def put(self, gradient: np.ndarray) -> None:
        """Store ``gradient``, or add it."""
        if self.accumulate:
            np.add(self.array, gradient, out=self.array, casting="same_kind")
        else:
            self.array[...] = gradient
