"""Division of samples among ranks: a step depends on the seed and the global batch, not on the ranks (law 1).

The order of an epoch is one permutation that all ranks know. A global batch is a slice of it, a rank's share
is a slice of the batch, a microbatch is a slice of the share:

    order    | batch 0           | batch 1           | batch 2 (ragged)  |
    shares   | r0  | r1  | r2    | r0  | r1  | r2    | r0 | r1 | r2      |

Shares are equal, or in proportion to weights where ranks differ in speed (``--balance``): that changes who computes a
sample, and neither its batch nor its place there.
"""

import functools
import math
from collections.abc import Iterator, Sequence
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


def divide(count: int, weights: Sequence[float]) -> list[int]:
    """Return ``count`` items divided in proportion to ``weights``: numbers whose sum is ``count``.

    Each is at most one away from its exact part; what rounding down leaves goes to the largest remainders, of equal
    ones to the first. The result is the same on any machine: sums are exact, and all else is one rounding of IEEE 754.

    Examples
    --------
    >>> divide(10, [2, 1, 1]), divide(7, [1, 1, 1]), divide(1, [1, 3])
    ([5, 3, 2], [3, 2, 2], [0, 1])
    """
    return _whole(_exact_parts(count, weights), count)


@functools.lru_cache(maxsize=64)
def divide_microbatches(samples: int, microbatches: int, weights: tuple[float, ...]) -> tuple[tuple[int, ...], ...]:
    """Return the samples of each microbatch that each rank takes, by weight.

    What rounding takes from a rank in one microbatch it gets in a later one, so that the parts of a whole step are
    rounded once, too.

    Returns
    -------
    tuple of tuple of int
        One row for each microbatch (``share``), one number for each weight.
    """
    rows, missing = [], [0.0] * len(weights)
    for m in range(microbatches):
        part = share(samples, m, microbatches)
        count = part.stop - part.start
        parts = [exact + more for exact, more in zip(_exact_parts(count, weights), missing, strict=True)]
        row = _whole(parts, count)
        missing = [exact - number for exact, number in zip(parts, row, strict=True)]
        rows.append(tuple(row))
    return tuple(rows)


def weighted_share(samples: int, m: int, microbatches: int, rank: int, weights: tuple[float, ...]) -> slice:
    """Return the part of microbatch ``m`` of ``samples`` that ``rank`` takes: contiguous, in the order of ranks."""
    row, outer = divide_microbatches(samples, microbatches, weights)[m], share(samples, m, microbatches)
    first = sum(row[:rank])
    return within(outer, slice(first, first + row[rank]))


def _exact_parts(count: int, weights: Sequence[float]) -> list[float]:
    total = math.fsum(weights)
    return [count * weight / total for weight in weights]


def _whole(parts: Sequence[float], count: int) -> list[int]:
    """Return whole numbers near ``parts``, none below 0, whose sum is ``count``."""
    whole = [max(0, math.floor(part)) for part in parts]
    while missing := count - sum(whole):
        step = 1 if missing > 0 else -1
        able = [r for r in range(len(parts)) if step > 0 or whole[r] > 0]
        able.sort(key=lambda r: step * (whole[r] - parts[r]))
        for r in able[: abs(missing)]:
            whole[r] += step
    return whole


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
