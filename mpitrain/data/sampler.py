"""Division of samples among ranks: a step depends on the seed and the global batch, not on the ranks (law 1).

The order of an epoch is one permutation that all ranks know. A global batch is a slice of it, a rank's share
is a slice of the batch, a microbatch is a slice of the share:

    order    | batch 0           | batch 1           | batch 2 (ragged)  |
    shares   | r0  | r1  | r2    | r0  | r1  | r2    | r0 | r1 | r2      |
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .rng import ORDER, random_order


def epoch_order(num_samples: int, seed: int, epoch: int, *, shuffle: bool = True) -> np.ndarray:
    """Return the samples of an epoch in the order of their use.

    Returns
    -------
    (num_samples,) array of int64
        A permutation drawn from (seed, epoch); the identity without ``shuffle`` (evaluation).
    """
    if not shuffle:
        return np.arange(num_samples)
    return random_order(num_samples, seed, ORDER, epoch)


def share(count: int, rank: int, size: int) -> slice:
    """Return the part of ``count`` items that ``rank`` of ``size`` takes.

    Parts are contiguous, in the order of ranks, and differ by at most one item, the longer ones first. With
    more ranks than items the last ones are empty.

    Examples
    --------
    >>> [share(7, rank, 3) for rank in range(3)]
    [slice(0, 3, None), slice(3, 5, None), slice(5, 7, None)]
    """
    base, longer = divmod(count, size)
    start = rank * base + min(rank, longer)
    return slice(start, start + base + (rank < longer))


def num_steps(num_samples: int, batch_size: int) -> int:
    """Return the steps of an epoch; the last batch is ragged where ``batch_size`` does not divide."""
    return -(-num_samples // batch_size)


@dataclass(frozen=True)
class StepShare:
    """One rank's work in one step, as slices of the epoch's order.

    Attributes
    ----------
    step : int
    batch : slice
        The global batch.
    part : slice
        This rank's share of it, possibly empty.
    """

    step: int
    batch: slice
    part: slice

    @property
    def first(self) -> int:
        """Position of the rank's first sample within the global batch."""
        first: int = self.part.start - self.batch.start
        return first


def step_shares(num_samples: int, batch_size: int, rank: int, size: int, start_step: int = 0) -> Iterator[StepShare]:
    """Yield the work of ``rank`` in each step of an epoch, from ``start_step`` on."""
    for step in range(start_step, num_steps(num_samples, batch_size)):
        batch = slice(step * batch_size, min((step + 1) * batch_size, num_samples))
        yield StepShare(step, batch, within(batch, share(batch.stop - batch.start, rank, size)))


def within(outer: slice, part: slice) -> slice:
    """Return the slice ``part`` of the slice ``outer`` as a slice of the whole sequence."""
    return slice(outer.start + part.start, outer.start + part.stop)
