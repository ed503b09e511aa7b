"""A matrix of float64 that grows by rows while a table is read."""

from collections.abc import Sequence

import numpy as np


class Matrix:
    """A float64 matrix that grows by rows, without a second copy.

    Parameters
    ----------
    num_columns : int
    """

    def __init__(self, num_columns: int):
        self._values = np.empty((0, num_columns))
        self._used = 0

    @property
    def num_columns(self) -> int:
        """Columns of the matrix."""
        return self._values.shape[1]

    def replace(self, column: int, values: np.ndarray) -> None:
        """Replace the values of the first rows in a column."""
        self._values[: len(values), column] = values

    def reserve(self, num_rows: int) -> None:
        """Reserve room for ``num_rows`` rows in all; memory is allocated as it is filled."""
        if num_rows > len(self._values):
            larger = np.empty((num_rows, self._values.shape[1]))
            larger[: self._used] = self._values[: self._used]
            self._values = larger

    def extend(self, columns: Sequence[np.ndarray], num_rows: int) -> None:
        """Append rows, given as columns of (num_rows,) float64."""
        end = self._used + num_rows
        if end > len(self._values):
            self._values.resize((max(end, len(self._values) * 5 // 4), self._values.shape[1]), refcheck=False)
        rows = self._values[self._used : end]
        for k, column in enumerate(columns):
            rows[:, k] = column
        self._used = end

    def finish(self) -> np.ndarray:
        """Return the (N, C) matrix without spare rows."""
        self._values.resize((self._used, self._values.shape[1]), refcheck=False)
        return self._values
