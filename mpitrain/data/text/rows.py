"""Texts of several lengths as rows of tokens, cut at T and padded.

Shapes: N texts, T tokens of the longest row.
"""

import hashlib
from functools import cached_property

import numpy as np

from ...context import PAD
from ..lazy import LazyRows
from .stream import TokenStream

STEP = 8  # widths of batches are multiples of it, so that there are few


class TokenRows(LazyRows):
    """Parts of a stream of tokens, one for each text.

    Parameters
    ----------
    stream : TokenStream
    starts, sizes : (N,) arrays of int64
        Where the tokens of each text begin, and how many there are, at least one.
    longest : int
        T: longer texts are cut.
    closes : bool
        Whether texts end with a special token, which a text that is cut keeps.

    Examples
    --------
    >>> stream = TokenStream([np.arange(9, dtype=np.uint8)])
    >>> rows = TokenRows(stream, np.array([0, 2, 3]), np.array([2, 1, 6]), 4)
    >>> rows.take(np.array([1, 0]), 2).tolist(), rows.take(np.array([2])).tolist()
    ([[2, -1], [0, 1]], [[3, 4, 5, 6]])
    """

    at_once = 16384

    def __init__(
        self, stream: TokenStream, starts: np.ndarray, sizes: np.ndarray, longest: int, *, closes: bool = False
    ):
        super().__init__(len(starts), longest)
        self.stream, self.starts, self.sizes, self.closes = stream, starts, sizes, closes

    @cached_property
    def lengths(self) -> np.ndarray:
        """The tokens of each row, up to T, as (N,) int64."""
        lengths: np.ndarray = np.minimum(self.sizes, self.shape[1])
        return lengths

    @property
    def num_bytes(self) -> int:
        """The memory of the places of texts."""
        return self.starts.nbytes + self.sizes.nbytes

    def width(self, indices: np.ndarray) -> int:
        """Return the least multiple of 8, up to T, that holds these rows."""
        longest = int(self.lengths[indices].max(initial=1))
        return min(self.shape[1], -(-longest // STEP) * STEP)

    def take(self, indices: np.ndarray, width: int | None = None) -> np.ndarray:
        """Return rows by their numbers, (n, L) int64."""
        rows = np.full((len(indices), self.width(indices) if width is None else width), PAD, np.int64)
        for row, index in zip(rows, indices.tolist()):
            start, size, length = int(self.starts[index]), int(self.sizes[index]), int(self.lengths[index])
            self.stream.read_into(row[:length], start)
            if self.closes and size > length:
                self.stream.read_into(row[length - 1 : length], start + size - 1)
        return rows

    def select(self, indices: np.ndarray) -> "TokenRows":
        """Return some of the texts."""
        starts, sizes = self.starts[indices], self.sizes[indices]
        return TokenRows(self.stream, starts, sizes, self.shape[1], closes=self.closes)

    def digest(self) -> str:
        """Return the shape, and a hash of places and of blocks of tokens."""
        hashed = hashlib.blake2b(self.stream.digest().encode(), digest_size=16)
        for places in (self.starts, self.sizes):
            hashed.update(np.ascontiguousarray(places, "<i8").data)
        return f"{self.shape} {self.dtype.name} {hashed.hexdigest()}"
