"""Global batches of an epoch: which samples each step takes, the same on any number of ranks.

Shapes: N samples of a split.
"""

from typing import Protocol

import numpy as np

from .lazy import is_lazy
from .rng import ORDER, RandomOrder
from .sampler import epoch_order, num_steps


class Batches(Protocol):
    """The samples of each step.

    Attributes
    ----------
    num_steps : int
        Of an epoch; the same in every epoch.
    largest : int
        Samples of the largest batch.
    """

    num_steps: int
    largest: int

    def begin(self, seed: int, epoch: int) -> None:
        """Order the samples for an epoch."""

    def batch(self, step: int) -> np.ndarray:
        """Return the samples of a step as (n,) int64."""

    def before(self, step: int) -> int:
        """Return the number of samples of the epoch's steps before ``step``."""


class EqualBatches:
    """Batches of ``batch_size`` samples in a random order; the last one has what is left.

    Parameters
    ----------
    num_samples, batch_size : int
    shuffle : bool
        False takes the samples in the order of the split.
    lazy : bool
        Compute the order of a step when it is asked for, as for more samples than numbers fit in memory.
    """

    def __init__(self, num_samples: int, batch_size: int, *, shuffle: bool = True, lazy: bool = False):
        self._num_samples, self._batch_size, self._shuffle, self._lazy = num_samples, batch_size, shuffle, lazy
        self.num_steps = num_steps(num_samples, batch_size)
        self.largest = min(num_samples, batch_size)
        self._order: np.ndarray | RandomOrder | None = None

    def begin(self, seed: int, epoch: int) -> None:
        """Order the samples for an epoch."""
        if self._lazy:
            self._order = RandomOrder(self._num_samples, seed, ORDER, epoch) if self._shuffle else None
        else:
            self._order = epoch_order(self._num_samples, seed, epoch, shuffle=self._shuffle)

    def batch(self, step: int) -> np.ndarray:
        """Return the samples of a step."""
        part = slice(self.before(step), self.before(step + 1))
        return np.arange(part.start, part.stop) if self._order is None else self._order[part]

    def before(self, step: int) -> int:
        """Return the number of samples of the steps before ``step``."""
        return min(step * self._batch_size, self._num_samples)


def make_batches(x: object, batch_size: int, *, shuffle: bool = True) -> Batches:
    """Return the batches of samples ``x``."""
    return EqualBatches(len(x), batch_size, shuffle=shuffle, lazy=is_lazy(x))  # type: ignore[arg-type]
