"""Rows that are read when they are asked for: they stand in for an array in a ``Split``.

Shapes: N rows, T tokens of the longest row.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from .mapped import MappedRows, is_mapped

COPIED = 64 << 20  # bytes of mapped rows up to which a copy of them is taken


class LazyRows(ABC):
    """Rows of integers, one for each sample, of a length up to T.

    Attributes
    ----------
    shape : tuple of int
        (N, T), as that of an array of them all, which is never made.
    dtype : numpy dtype
    """

    dtype: np.dtype[Any] = np.dtype(np.int64)
    at_once = 4096
    """Tokens that are evaluated at once."""

    def __init__(self, num_rows: int, longest: int):
        self.shape = (num_rows, longest)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return the rows of a slice, padded to the longest of them."""
        return self.take(np.arange(*rows.indices(len(self))))

    @property
    def ndim(self) -> int:
        """2."""
        return len(self.shape)

    @property
    def num_bytes(self) -> int:
        """The memory that they take, without what is mapped from files."""
        return 0

    @abstractmethod
    def take(self, indices: np.ndarray, width: int | None = None) -> np.ndarray:
        """Return rows by their numbers.

        Parameters
        ----------
        indices : (n,) array of int64
        width : int, optional
            L; by default ``self.width(indices)``.

        Returns
        -------
        (n, L) array of int64
            Padded at the end.
        """

    def width(self, indices: np.ndarray) -> int:
        """Return the least L that holds these rows."""
        return self.shape[1]

    def select(self, indices: np.ndarray) -> "LazyRows":
        """Return some of the rows, which are not read yet; raises TypeError where rows belong together."""
        raise TypeError(f"{type(self).__name__} cannot be divided by rows")

    @property
    def lengths(self) -> np.ndarray | None:
        """The length of each row as (N,) array of integers; None where all have the same, but for the last one."""
        return None

    def of_epoch(self, seed: int, epoch: int) -> "LazyRows":
        """Return the rows of an epoch of training, which may be cut differently in each."""
        return self

    @abstractmethod
    def digest(self) -> str:
        """Return shape, dtype and a hash of the contents (see ``matching.fingerprint``)."""


class PickedRows(LazyRows):
    """Some rows of others, also of those that cannot be divided, in the order of ``indices``."""

    def __init__(self, rows: LazyRows, indices: np.ndarray):
        super().__init__(len(indices), rows.shape[1])
        self._rows, self._indices, self.at_once = rows, indices, rows.at_once

    def take(self, indices: np.ndarray, width: int | None = None) -> np.ndarray:
        """Return rows by their numbers among the picked ones."""
        return self._rows.take(self._indices[indices], width)

    def width(self, indices: np.ndarray) -> int:
        """Return the least L that holds these rows."""
        return self._rows.width(self._indices[indices])

    def digest(self) -> str:
        """Return the digest of the rows that they are picked from, with their numbers."""
        return f"{self._rows.digest()} rows {self._indices.tolist()}"


def select(values: Any, indices: np.ndarray) -> Any:
    """Return some rows of an array, or of rows that are read later.

    Many rows of a mapped file are not copied, since they may be more than there is memory: see ``MappedRows``.
    """
    if isinstance(values, LazyRows | MappedRows):
        return values.select(indices)
    if is_mapped(values) and values.nbytes // max(1, len(values)) * len(indices) > COPIED:
        return MappedRows(values, indices)
    return values[indices]


def is_lazy(values: Any) -> bool:
    """Return whether samples or targets are read when they are asked for."""
    return isinstance(values, LazyRows)
