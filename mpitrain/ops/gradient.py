"""The destination of a parameter's gradient."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


def _ignore() -> None:
    """Do nothing: the default for a gradient that no arena waits for."""


class Gradient(NamedTuple):
    """The memory of a gradient, and whether it already holds a part of this step's gradient, to be added to.

    The op that has stored its part calls ``written`` at once: before a sum over ranks, since the part of another
    virtual shard may come next.
    """

    array: np.ndarray
    accumulate: bool
    written: Callable[[], None] = _ignore

    def put(self, gradient: np.ndarray) -> None:
        """Store ``gradient``, or add it, and report it written."""
        if self.accumulate:
            np.add(self.array, gradient, out=self.array, casting="same_kind")
        else:
            self.array[...] = gradient
        self.written()
