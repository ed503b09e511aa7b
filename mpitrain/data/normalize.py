"""Mean 0 and deviation 1 by the statistics of the training rows, summed over ranks.

Shapes: N samples; the last dim C holds the channels of images (N, H, W, C) or the columns of tables (N, C).
"""

import math
from collections.abc import Callable

import numpy as np

SumOverRanks = Callable[[np.ndarray], np.ndarray]

_CHUNK = 1 << 20  # elements converted at once: 8 MB of float64
_TINY = np.finfo(np.float32).tiny


def alone(sums: np.ndarray) -> np.ndarray:
    """Return ``sums``: the sum over one rank."""
    return sums


class Normalizer:
    """``(x - mean) / std`` per channel or column, in float32.

    The mean is subtracted before the scaling, and not folded into ``x * a + b``: both are two passes in NumPy,
    and a column such as a year (mean 2000, deviation 1) would lose four digits to cancellation.

    Parameters
    ----------
    mean, std : (C,) arrays
        Kept as float64; ``std`` is positive.

    Examples
    --------
    >>> Normalizer([2.0], [0.5])(np.float32([[1.5], [3.0]])).tolist()
    [[-1.0], [2.0]]
    """

    def __init__(self, mean: np.ndarray, std: np.ndarray):
        self.mean = np.array(mean, np.float64)
        self.std = np.array(std, np.float64)
        self._rows: tuple[np.ndarray, np.ndarray] = (np.empty(0), np.empty(0))

    @classmethod
    def fit(cls, x: np.ndarray, rows: slice = slice(None), sum_over_ranks: SumOverRanks = alone) -> "Normalizer":
        """Measure mean and deviation of all rows, of which this rank reads only ``rows``.

        Parameters
        ----------
        x : (N, ..., C) array of uint8 or float32
            The whole training split. Row 0 is read by every rank.
        rows : slice
            This rank's part: the parts of all ranks cover each row once. It may be empty.
        sum_over_ranks : callable(float64 array) -> float64 array
            The element-wise sum over all ranks; called once for uint8 and twice for float32.

        Notes
        -----
        Bytes are summed exactly (below 2**53, some 10**11 pixels), so that the result is the same to the bit
        on any number of ranks. Floats are summed in float64 in two passes, of ``x - x[0]`` and then of
        ``(x - mean)**2``: a constant column has a variance of exactly 0. It gets a deviation of 1.
        """
        part = x[rows]
        if x.dtype == np.uint8:
            mean, variance = _bytes(part, sum_over_ranks)
        else:
            mean, variance = _floats(part, x[0], sum_over_ranks)
        std = np.sqrt(variance)
        return cls(mean, np.where(std > _TINY, std, 1.0))

    def __call__(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return the normalised batch.

        Parameters
        ----------
        x : (n, ..., C) array of uint8 or float32, C-contiguous
        out : (n, ..., C) array of float32, C-contiguous, optional
            May be ``x`` itself.
        """
        if out is None:
            out = np.empty(x.shape, np.float32)
        size = math.prod(x.shape[1:])
        mean, scale = self._sample_rows(size)
        flat = out.reshape(len(x), size)
        np.subtract(x.reshape(len(x), size), mean, out=flat, dtype=np.float32)
        np.multiply(flat, scale, out=flat)
        return out

    def inverse(self, y: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return ``y * std + mean``: what was normalised, in its own units, as float32 of shape (n, ..., C)."""
        if out is None:
            out = np.empty(y.shape, np.float32)
        np.multiply(y, self.std, out=out, casting="same_kind")
        return np.add(out, self.mean, out=out, casting="same_kind")

    def _sample_rows(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and 1/std repeated to the length of a sample: long inner loops instead of C elements each."""
        if self._rows[0].size != size:
            repeats = size // self.mean.size
            scale = 1 / self.std
            self._rows = (np.tile(self.mean.astype(np.float32), repeats), np.tile(scale.astype(np.float32), repeats))
        return self._rows


def _chunks(x: np.ndarray) -> list[np.ndarray]:
    rows = max(1, _CHUNK // max(1, math.prod(x.shape[1:])))
    return [x[start : start + rows] for start in range(0, len(x), rows)]


def _per_channel(sums: np.ndarray, channels: int) -> np.ndarray:
    return sums.reshape(-1, channels).sum(axis=0)


def _bytes(x: np.ndarray, sum_over_ranks: SumOverRanks) -> tuple[np.ndarray, np.ndarray]:
    channels = x.shape[-1]
    sums = np.zeros((2, *x.shape[1:]), np.int64)
    for chunk in _chunks(x):
        sums[0] += chunk.sum(axis=0, dtype=np.int64)
        sums[1] += np.square(chunk, dtype=np.uint16).sum(axis=0, dtype=np.int64)
    count = x.size // channels
    sums_here = np.concatenate([np.array([count]), *(_per_channel(part, channels) for part in sums)])
    n, *totals = (int(value) for value in sum_over_ranks(sums_here.astype(np.float64)))
    first, second = totals[:channels], totals[channels:]
    mean = np.array([s / n for s in first])
    return mean, np.array([(n * q - s * s) / (n * n) for s, q in zip(first, second)])


def _floats(x: np.ndarray, origin: np.ndarray, sum_over_ranks: SumOverRanks) -> tuple[np.ndarray, np.ndarray]:
    channels = x.shape[-1]
    shift = origin.reshape(-1, channels)[0].astype(np.float64)
    sums = np.zeros(channels)
    for chunk in _chunks(x):
        sums += _per_channel((chunk - shift).sum(axis=0), channels)
    total = sum_over_ranks(np.concatenate([[x.size // channels], sums]))
    count, mean = total[0], shift + total[1:] / total[0]
    squares = np.zeros(channels)
    for chunk in _chunks(x):
        squares += _per_channel(np.square(chunk - mean).sum(axis=0), channels)
    return mean, sum_over_ranks(squares) / count
