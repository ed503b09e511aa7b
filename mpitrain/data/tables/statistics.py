"""Statistics of the training rows of a table, column by column, in one pass over blocks of rows.

Shapes: N training rows, n rows of a block, C columns.
"""

from collections.abc import Mapping

import numpy as np

BLOCK = 1 << 14
"""Rows that are read at once."""
SAMPLE = 1 << 17
"""Rows of which the median is taken, evenly spaced, where there are more."""


class Statistics:
    """Counts and extremes of the columns of a table over the training rows.

    Parameters
    ----------
    raw : (M, C) array of float64
        All rows, with NaN where a value is missing; of categories the places of texts.
    rows : (N,) array of int64
        The rows to train on.
    num_texts : dict of int to int
        By the number of each column of categories: its distinct texts.
    dates : set of int
        Columns of dates.

    Attributes
    ----------
    missing : (C,) array of int64
        Rows without a value.
    counts : dict of int to array of int64
        By the number of each column of categories: the rows that have each text.
    least, most : (C,) array of float64
        Of the values that are there.
    has_times : dict of int to bool
        By the number of each column of dates: whether some are not midnight.
    has_days : dict of int to bool
        Whether some are not the first of a month.
    """

    def __init__(self, raw: np.ndarray, rows: np.ndarray, num_texts: Mapping[int, int], dates: set[int]):
        self._raw, self._rows = raw, rows
        width = raw.shape[1]
        self.missing = np.zeros(width, np.int64)
        self.counts = {k: np.zeros(count, np.int64) for k, count in num_texts.items()}
        self.least, self.most = np.full(width, np.inf), np.full(width, -np.inf)
        self.has_times, self.has_days = dict.fromkeys(dates, False), dict.fromkeys(dates, False)
        for start in range(0, len(rows), BLOCK):
            self._add(raw[rows[start : start + BLOCK]])

    def _add(self, part: np.ndarray) -> None:
        nan = np.isnan(part)
        self.missing += nan.sum(axis=0)
        self.least = np.minimum(self.least, np.where(nan, np.inf, part).min(axis=0))
        self.most = np.maximum(self.most, np.where(nan, -np.inf, part).max(axis=0))
        for k, counts in self.counts.items():
            counts += np.bincount(part[:, k].astype(np.int64), minlength=len(counts))
        for k in self.has_times:
            days = part[~nan[:, k], k]
            self.has_times[k] |= bool((days != np.floor(days)).any())
            whole = np.floor(days).astype("datetime64[D]")
            self.has_days[k] |= bool((whole != whole.astype("datetime64[M]").astype("datetime64[D]")).any())

    def centers(self, kind: str) -> np.ndarray:
        """Return the median or the mean (C,) of what is there of each column; 0 where there is nothing."""
        step = max(1, -(-len(self._rows) // SAMPLE))
        sample = self._raw[self._rows[::step]]
        found = np.zeros(sample.shape[1])
        for k in range(sample.shape[1]):
            values = sample[~np.isnan(sample[:, k]), k]
            if len(values):
                found[k] = np.median(values) if kind == "median" else values.mean()
        return np.clip(found, self.least, self.most, where=np.isfinite(self.least), out=np.zeros(len(found)))
