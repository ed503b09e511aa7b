"""Normalization to mean 0 and deviation 1 by the statistics of the training rows, summed over ranks.

Shapes: N samples; the last dim C holds the channels of images (N, H, W, C) or the columns of tables (N, C).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..errors import AgreedError

SumOverRanks = Callable[[np.ndarray], np.ndarray]

_CHUNK = 1 << 16  # elements converted at once: 512 KB of float64, which stay in the cache
_TINY = 1e-300  # a column that varies by less is constant: 1 / std must not overflow
_HUGE = 1e305  # differences up to here leave room for a sum of many
_PLAIN = 1e-100, 1e100  # differences in this range can be squared as they are
_FITS_FLOAT32 = 2.0**100  # means, and factors or their inverses, up to here leave float32 room for any difference
_NEGLIGIBLE = 2.0**-23  # of a deviation: the rounding of values near 1


def alone(sums: np.ndarray) -> np.ndarray:
    """Return ``sums``: the sum over one rank."""
    return sums


class Parts(NamedTuple):
    """Numbers by which samples are normalized, (C,), or repeated to the length of a sample: long inner loops."""

    mean: np.ndarray
    rest: np.ndarray | None  # of the mean, which float32 could not hold; None where it is negligible
    scale: np.ndarray


class Normalizer:
    """``(x - mean) / std`` per channel or column, as float32.

    The mean is subtracted before the scaling, and not folded into ``x * a + b``: a column such as a time in seconds
    (mean 1.7e9, deviation 10) would lose its digits to cancellation.

    Parameters
    ----------
    mean, std : (C,) arrays
        Kept as float64; ``std`` is positive.

    Notes
    -----
    float64 is subtracted and scaled in float64, and rounded to float32 once: a relative error of 2**-24. Bytes and
    float32 are computed in float32 with a mean in two parts, whose first leaves a difference that is exact where
    digits cancel (Sterbenz 1974): an error of at most 2**-22 of the larger of 1 and the result.

    Examples
    --------
    >>> Normalizer([2.0], [0.5])(np.float32([[1.5], [3.0]])).tolist()
    [[-1.0], [2.0]]
    """

    def __init__(self, mean: np.ndarray, std: np.ndarray):
        self.mean = np.array(mean, np.float64)
        self.std = np.array(std, np.float64)
        self._kept: dict[tuple[int, bool], Parts] = {}

    @classmethod
    def fit(
        cls,
        x: np.ndarray,
        rows: slice = slice(None),
        sum_over_ranks: SumOverRanks = alone,
        names: tuple[str, ...] = (),
    ) -> "Normalizer":
        """Measure mean and deviation of all rows, of which this rank reads only ``rows``.

        Parameters
        ----------
        x : (N, ..., C) array of uint8, float32 or float64, or MappedRows
            The whole training split, which is never in memory at once. Row 0 is read by every rank.
        rows : slice
            This rank's part: the parts of all ranks cover each row once. It may be empty.
        sum_over_ranks : callable(float64 array) -> float64 array
            The element-wise sum over all ranks; called once for uint8 and twice for floats.
        names : tuple of str
            The names of the columns, for messages.

        Raises
        ------
        AgreedError
            If the range of a column exceeds float64; on all ranks.

        Notes
        -----
        Bytes are summed exactly (below 2**53, about 10**11 pixels), so that the result is the same to the bit
        on any number of ranks. Floats are summed in float64 in two passes, of ``x - x[0]`` and then of
        ``x - mean`` and its square, the deviation being about the true mean, not about its rounded value. Where
        squares could overflow or vanish they are of numbers scaled by a power of two. A constant column has a
        variance of exactly 0; it gets a deviation of 1.
        """
        if x.dtype == np.uint8:
            mean, std = _bytes(x, rows, sum_over_ranks)
        else:
            mean, std = _floats(x, rows, sum_over_ranks, names)
        return cls(mean, np.where(std > _TINY, std, 1.0))

    def leaving(self, columns: Sequence[bool]) -> "Normalizer":
        """Return the same for other columns, which leaves those as they are where ``columns`` is true.

        >>> Normalizer([2.0, 3.0], [0.5, 2.0]).leaving([False, True])(np.float32([[3.0, 7.0]])).tolist()
        [[2.0, 7.0]]
        """
        return Normalizer(np.where(columns, 0.0, self.mean), np.where(columns, 1.0, self.std))

    def __call__(self, x: np.ndarray, out: np.ndarray | None = None, *, overwrite: bool = False) -> np.ndarray:
        """Return the normalized batch.

        Parameters
        ----------
        x : (n, ..., C) array of uint8, float32 or float64, C-contiguous
        out : (n, ..., C) array of float32, C-contiguous, optional
            May be ``x`` itself.
        overwrite : bool
            Whether ``x`` may be used for what is computed on the way; without it float64 takes memory for each call.
        """
        if out is None:
            out = np.empty(x.shape, np.float32)
        size = math.prod(x.shape[1:])
        rows = self._sample_rows(size, x.dtype)
        flat_x, flat = x.reshape(len(x), size), out.reshape(len(x), size)
        if rows.mean.dtype == np.float32:
            np.subtract(flat_x, rows.mean, out=flat, dtype=np.float32)
            if rows.rest is not None:
                np.subtract(flat, rows.rest, out=flat)
            np.multiply(flat, rows.scale, out=flat)
        else:
            _in_float64(flat_x, rows, flat, in_place=overwrite and x.dtype == np.float64)
        return out

    def inverse(self, y: np.ndarray) -> np.ndarray:
        """Return ``y * std + mean``: the values before normalization, as float64 of shape (n, ..., C)."""
        return y * self.std + self.mean

    def _sample_rows(self, size: int, dtype: np.dtype) -> Parts:
        key = size, dtype == np.float64
        rows = self._kept.get(key)
        if rows is None:
            repeats = size // self.mean.size
            mean, rest, scale = self.parts(dtype)
            rest = None if rest is None else np.tile(rest, repeats)
            rows = self._kept[key] = Parts(np.tile(mean, repeats), rest, np.tile(scale, repeats))
        return rows

    def parts(self, dtype: np.dtype) -> Parts:
        """Return mean, its rest and 1 / std, in float32 if ``dtype`` and the numbers allow it."""
        scale = 1 / self.std
        numbers = np.concatenate([np.abs(self.mean), scale, self.std])
        if dtype == np.float64 or numbers.max() > _FITS_FLOAT32:
            return Parts(self.mean, None, scale)
        mean = self.mean.astype(np.float32)
        rest = self.mean - mean
        needed = (np.abs(rest) * scale).max() > _NEGLIGIBLE
        return Parts(mean, rest.astype(np.float32) if needed else None, scale.astype(np.float32))


def _in_float64(x: np.ndarray, rows: Parts, out: np.ndarray, *, in_place: bool) -> None:
    """Normalize (n, size) numbers chunk by chunk; differences overwrite ``x``, or take memory of one chunk."""
    memory = np.empty((0 if in_place else min(len(x), _chunk_rows(x)), x.shape[1]))
    for part, out_part in zip(_chunks(x), _chunks(out)):
        differences = part if in_place else memory[: len(part)]
        np.subtract(part, rows.mean, out=differences)
        np.multiply(differences, rows.scale, out=differences)
        np.copyto(out_part, differences, casting="same_kind")


def _chunks(x: np.ndarray, rows: slice = slice(None)) -> Iterator[np.ndarray]:
    start, stop, _ = rows.indices(len(x))
    step = _chunk_rows(x)
    return (x[first : min(first + step, stop)] for first in range(start, stop, step))


def _elements(x: np.ndarray, rows: slice) -> int:
    return len(range(*rows.indices(len(x)))) * math.prod(x.shape[1:])


def _chunk_rows(x: np.ndarray) -> int:
    return max(1, _CHUNK // max(1, math.prod(x.shape[1:])))


def _per_channel(sums: np.ndarray, channels: int) -> np.ndarray:
    found: np.ndarray = sums.reshape(-1, channels).sum(axis=0)
    return found


def _bytes(x: np.ndarray, rows: slice, sum_over_ranks: SumOverRanks) -> tuple[np.ndarray, np.ndarray]:
    channels = x.shape[-1]
    sums = np.zeros((2, *x.shape[1:]), np.int64)
    for chunk in _chunks(x, rows):
        sums[0] += chunk.sum(axis=0, dtype=np.int64)
        sums[1] += np.square(chunk, dtype=np.uint16).sum(axis=0, dtype=np.int64)
    count = _elements(x, rows) // channels
    sums_here = np.concatenate([np.array([count]), *(_per_channel(part, channels) for part in sums)])
    n, *totals = (int(value) for value in sum_over_ranks(sums_here.astype(np.float64)))
    first, second = totals[:channels], totals[channels:]
    mean = np.array([s / n for s in first])
    return mean, np.sqrt(np.array([(n * q - s * s) / (n * n) for s, q in zip(first, second)]))


def _floats(
    x: np.ndarray, rows: slice, sum_over_ranks: SumOverRanks, names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    channels = x.shape[-1]
    shift = x[0].reshape(-1, channels)[0].astype(np.float64)
    sums, reach = np.zeros(channels), np.zeros(channels)
    with np.errstate(over="ignore", invalid="ignore"):  # found below
        for chunk in _chunks(x, rows):
            differences = chunk - shift
            sums += _per_channel(differences.sum(axis=0), channels)
            farthest = np.maximum(differences.max(axis=0), -differences.min(axis=0))
            np.maximum(reach, farthest.reshape(-1, channels).max(axis=0), out=reach)
        sums[~(reach <= _HUGE)] = np.nan  # on any rank: all of them learn it
        total = sum_over_ranks(np.concatenate([[_elements(x, rows) // channels], sums, reach]))
    count, sums, reach = total[0], *np.split(total[1:], 2)
    _check_sums(sums, names)
    mean = shift + sums / count
    unit = _unit(reach)
    sums = np.zeros((2, channels))
    for chunk in _chunks(x, rows):
        differences = chunk - mean
        if (unit != 1).any():
            differences /= unit
        sums[0] += _per_channel(differences.sum(axis=0), channels)
        sums[1] += _per_channel(np.square(differences, out=differences).sum(axis=0), channels)
    first, second = sum_over_ranks(sums.reshape(-1)).reshape(2, channels) / count
    return mean, unit * np.sqrt(np.maximum(second - first**2, 0))


def _check_sums(sums: np.ndarray, names: tuple[str, ...]) -> None:
    wrong = np.flatnonzero(~np.isfinite(sums))
    if wrong.size:
        name = repr(names[wrong[0]]) if names else wrong[0]
        raise AgreedError(f"values of column {name} lie further apart than float64 can hold: divide them by a constant")


def _unit(reach: np.ndarray) -> np.ndarray:
    """Return scales per column: 1, or powers of two near the largest differences if squares would overflow."""
    low, high = _PLAIN
    if ((reach == 0) | ((low < reach) & (reach < high))).all():
        return np.ones(len(reach))
    return np.ldexp(1.0, np.frexp(np.where(reach > _TINY, reach, 1))[1])
