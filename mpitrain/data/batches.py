"""Global batches of an epoch: which samples each step takes, the same on any number of ranks.

Shapes: N samples of a split.
"""

from typing import Any, Protocol

import numpy as np

from .lazy import LazyRows
from .rng import BATCHES, ORDER, RandomOrder, random_bits, random_order
from .sampler import epoch_order, num_steps

STEP = 8  # tokens by which lengths differ that are not told apart


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


class BucketBatches:
    """Batches of rows of similar lengths, so that little of them is padding; the batches come in a random order.

    Rows are sorted by length, in steps of ``STEP`` tokens; those of a step are in a random order of the epoch. The cuts
    between batches are the same in every epoch.

    Parameters
    ----------
    lengths : (N,) array of int
        Tokens of each row.
    batch_size : int
        Rows of a batch; the last one has what is left, and comes last.
    batch_tokens : int
        Tokens of a batch with its padding, in place of ``batch_size``; a longer row is a batch of its own. 0 for none.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, batch_tokens: int = 0):
        self._buckets = -(-lengths // STEP)
        if batch_tokens:
            self._starts = _cut_by_tokens(np.sort(self._buckets) * STEP, batch_tokens)
        else:
            self._starts = np.append(np.arange(0, len(lengths), batch_size), len(lengths))
        self._sizes = np.diff(self._starts)
        self._ragged = not batch_tokens and bool(self._sizes[-1] < self._sizes[0])
        self.num_steps, self.largest = len(self._sizes), int(self._sizes.max())

    def begin(self, seed: int, epoch: int) -> None:
        """Order the samples for an epoch."""
        keys = random_bits(np.arange(len(self._buckets)), seed, ORDER, epoch)
        self._order = np.lexsort((keys, self._buckets))
        of_batches = random_order(self.num_steps - self._ragged, seed, BATCHES, epoch)
        self._batches = np.append(of_batches, [self.num_steps - 1] * self._ragged).astype(np.int64)
        self._before = np.append(0, np.cumsum(self._sizes[self._batches]))

    def batch(self, step: int) -> np.ndarray:
        """Return the samples of a step, in a random order of the epoch within each length."""
        number = self._batches[step]
        return self._order[self._starts[number] : self._starts[number + 1]]

    def before(self, step: int) -> int:
        """Return the number of samples of the steps before ``step``."""
        return int(self._before[step])


def _cut_by_tokens(widths: np.ndarray, batch_tokens: int) -> np.ndarray:
    """Return the places that cut rows of increasing ``widths`` (N,) into batches, with 0 and N."""
    cuts = [0]
    while cuts[-1] < len(widths):
        first = cuts[-1]
        low, high = first + 1, min(len(widths), first + max(1, batch_tokens // max(1, int(widths[first]))))
        while low < high:  # the most rows that fit, each as wide as the last of them
            middle = (low + high + 1) // 2
            fits = (middle - first) * widths[middle - 1] <= batch_tokens
            low, high = (middle, high) if fits else (low, middle - 1)
        cuts.append(low)
    return np.array(cuts)


def make_batches(x: Any, batch_size: int, *, batch_tokens: int = 0, shuffle: bool = True) -> Batches:
    """Return the batches of samples ``x``.

    Parameters
    ----------
    batch_tokens : int
        Tokens of a batch of rows that differ in their lengths, in place of ``batch_size``; 0 for none.
    """
    if shuffle and isinstance(x, LazyRows) and x.lengths is not None:
        return BucketBatches(x.lengths, batch_size, batch_tokens)
    return EqualBatches(len(x), batch_size, shuffle=shuffle, lazy=isinstance(x, LazyRows))
