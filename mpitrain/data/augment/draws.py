"""Random numbers of an augmentation for the samples of a batch: n numbers at a time, each by its sample alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..rng import random_bits

_UNIT = 2.0**-53


class Draws:
    """Random numbers by counter for samples of an epoch.

    Parameters
    ----------
    indices : (n,) array of int64
        The places of the samples in the dataset.
    key : int
        Words such as seed, purpose, epoch and the number of an augmentation.

    Notes
    -----
    ``which`` tells the numbers of one augmentation apart: the same one gives the same numbers again.

    Examples
    --------
    >>> draws = Draws(np.arange(4), 0, 2, 1)
    >>> bool((draws.uniform(0)[2:] == Draws(np.arange(2, 4), 0, 2, 1).uniform(0)).all())
    True
    """

    def __init__(self, indices: np.ndarray, *key: int):
        self.indices, self.key = indices, key

    def __len__(self) -> int:
        return len(self.indices)

    def bits(self, *which: int) -> NDArray[np.uint64]:
        """Return 64 random bits for each sample."""
        return random_bits(self.indices, *self.key, *which)

    def uniform(self, which: int, low: Any = 0.0, high: Any = 1.0) -> NDArray[np.float64]:
        """Return numbers from [low, high), which may be arrays (n,)."""
        found: NDArray[np.float64] = low + (self.bits(which) >> np.uint64(11)) * _UNIT * (high - low)
        return found

    def integers(self, which: int, count: Any) -> NDArray[np.intp]:
        """Return whole numbers from 0 to count - 1; ``count``, below 2^53, may be an array (n,)."""
        found: NDArray[np.intp] = (self.uniform(which) * count).astype(np.intp)
        return found

    def chance(self, which: int, share: float) -> NDArray[np.bool_]:
        """Return True for a share of the samples."""
        return self.uniform(which) < share

    def signs(self, which: int) -> NDArray[np.float64]:
        """Return -1 or 1."""
        return np.where(self.bits(which) >> np.uint64(63), -1.0, 1.0)

    def select(self, some: np.ndarray) -> "Draws":
        """Return the draws of some of the samples."""
        return Draws(self.indices[some], *self.key)

    def part(self, number: int) -> "Draws":
        """Return other numbers for the same samples, as for one of several steps of an augmentation."""
        return Draws(self.indices, *self.key, number)
