"""Windows of a token stream for language modeling: T tokens, and the T tokens that follow each of them.

Shapes: N tokens of the stream, of which N - 1 are predicted; W = ceil((N - 1) / T) windows.

In training, the windows of each epoch begin elsewhere: place p of the stream, modulo N - 1, is place (p + shift) of the
windows, so that tokens do not always have the same ones before them. Each of the N - 1 tokens is predicted once in an
epoch, for any shift; the window that reaches over the end of the stream continues with its beginning.
"""

from typing import Literal

import numpy as np

from ...context import PAD
from ..lazy import LazyRows
from ..rng import WINDOWS, random_bits
from .stream import TokenStream

IGNORED = -100  # the target of no token (SoftmaxCrossEntropy.ignore_index)
LONGEST = 1 << 24  # tokens of a window


class Windows(LazyRows):
    """The windows of ``stream``, or their targets.

    Parameters
    ----------
    stream : TokenStream
        Of at least two tokens.
    length : int
        T.
    kind : "inputs" or "targets"
    shift : int
        In [0, T): where the first window begins.

    Examples
    --------
    >>> stream = TokenStream([np.arange(6, dtype=np.uint8)])
    >>> Windows(stream, 3, "inputs")[:].tolist(), Windows(stream, 3, "targets")[:].tolist()
    ([[0, 1, 2], [3, 4, -1]], [[1, 2, 3], [4, 5, -100]])
    """

    def __init__(self, stream: TokenStream, length: int, kind: Literal["inputs", "targets"], shift: int = 0):
        self._last = max(0, len(stream) - 1)
        super().__init__(-(-self._last // length), length)
        self.stream, self.kind, self.shift = stream, kind, shift

    def take(self, indices: np.ndarray, width: int | None = None) -> np.ndarray:
        """Return windows by their numbers, (n, T) int64."""
        length, after = self.shape[1], int(self.kind == "targets")
        rows = np.full((len(indices), length), IGNORED if after else PAD, np.int64)
        for row, number in zip(rows, indices.tolist()):
            count = min(length, self._last - number * length)
            start = (number * length + self.shift) % self._last
            first = min(count, self._last - start)
            self.stream.read_into(row[:first], start + after)
            self.stream.read_into(row[first:count], after)
        return rows

    def of_epoch(self, seed: int, epoch: int) -> "Windows":
        """Return the windows of an epoch, shifted by random numbers of (seed, epoch)."""
        shift = int(random_bits(np.array([epoch]), seed, WINDOWS)[0] % np.uint64(min(self.shape[1], self._last)))
        return Windows(self.stream, self.shape[1], self.kind, shift)

    def starts(self) -> np.ndarray:
        """Return the places in the stream of the first token of each window, (W,) int64."""
        return (np.arange(len(self)) * self.shape[1] + self.shift) % self._last

    def digest(self) -> str:
        """Return the length, the number of tokens and a hash of blocks of them."""
        return f"{self.shape} {self.dtype.name} {self.stream.digest().rpartition(' ')[2]}"
