"""Some rows of an array that is mapped from a file: they stand in for an array in a ``Split``, and take no memory.

Shapes: N rows of the file, M of them picked.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .blocks import digest_blocks


class MappedRows:
    """Rows of a mapped array, in the order of ``rows``, which are read from the file whenever they are asked for.

    Parameters
    ----------
    values : (N, ...) array
        C-contiguous.
    rows : (M,) array of int64

    >>> picked = MappedRows(np.arange(12).reshape(6, 2), np.array([4, 1, 5]))
    >>> picked.shape, picked[1:].tolist(), picked[0].tolist(), np.asarray(picked).sum()
    ((3, 2), [[2, 3], [10, 11]], [8, 9], np.int64(42))
    """

    def __init__(self, values: np.ndarray, rows: np.ndarray):
        self._values, self._rows = values, rows
        self.shape: tuple[int, ...] = (len(rows), *values.shape[1:])
        self.dtype: np.dtype[Any] = values.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._values[row] for row in self._rows)

    def __getitem__(self, place: Any) -> np.ndarray:
        """Return the sample of an integer, or those of a slice or an array as a new array."""
        first, *others = place if isinstance(place, tuple) else (place,)
        found: np.ndarray = self._values[self._rows[first]]
        return found[(slice(None), *others)] if others else found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all rows in memory."""
        return self[:] if dtype is None else self[:].astype(dtype)

    @property
    def ndim(self) -> int:
        """The number of dims."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """The bytes of all rows; those in memory are ``index_bytes``."""
        return self.size * self.dtype.itemsize

    @property
    def index_bytes(self) -> int:
        """The bytes that the numbers of the rows take in memory."""
        return self._rows.nbytes

    def take(self, indices: np.ndarray, out: np.ndarray) -> None:
        """Write rows, by their numbers among the picked ones, to ``out`` (n, ...)."""
        # mode: with the default, "raise", take goes through a temporary array
        np.take(self._values, self._rows[indices], axis=0, out=out, mode="clip")

    def select(self, indices: np.ndarray) -> "MappedRows":
        """Return some of the rows, which are not read."""
        return MappedRows(self._values, self._rows[indices])

    def digest(self) -> str:
        """Return the hash of all bytes, or of blocks of them, as ``blocks.digest_bytes`` of the array in memory."""
        width = self.nbytes // max(1, len(self))
        return digest_blocks(self.nbytes, lambda start, stop: self._bytes(start, stop, width))

    def _bytes(self, start: int, stop: int, width: int) -> np.ndarray:
        first = start // width
        rows = np.ascontiguousarray(self[first : -(-stop // width)]).reshape(-1).view(np.uint8)
        return rows[start - first * width : stop - first * width]


def is_mapped(array: Any) -> bool:
    """Return whether the elements of an array are mapped from a file, so that they take no memory of their own."""
    if isinstance(array, MappedRows):
        return True
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False


def take_rows(values: Any, indices: np.ndarray, out: np.ndarray) -> None:
    """Write the rows ``indices`` (n,) of an array, or of mapped rows, to ``out`` (n, ...)."""
    if isinstance(values, MappedRows):
        values.take(indices, out)
    else:
        np.take(values, indices, axis=0, out=out, mode="clip")
