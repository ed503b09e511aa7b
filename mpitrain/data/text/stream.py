"""A sequence of tokens in parts, most of them mapped from files.

Shapes: N tokens.
"""

import itertools
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from ..blocks import digest_blocks


class TokenStream:
    """N tokens, the parts one after the other; reading some needs memory for these only.

    Parameters
    ----------
    parts : sequence of (n,) arrays of unsigned integers
        Memory maps of files, or small arrays.

    Examples
    --------
    >>> stream = TokenStream([np.array([1, 2, 3], np.uint8), np.array([256], np.uint16)])
    >>> len(stream), stream.read(1, 4)
    (4, array([  2,   3, 256]))
    """

    def __init__(self, parts: Sequence[np.ndarray]):
        self.parts = tuple(part.view(np.ndarray) for part in parts if len(part))  # a slice of a memmap takes 10 us
        self._starts = list(itertools.accumulate(map(len, self.parts), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return tokens as (stop - start,) int64."""
        tokens = np.empty(stop - start, np.int64)
        self.read_into(tokens, start)
        return tokens

    def read_into(self, tokens: np.ndarray, start: int) -> None:
        """Write the tokens from ``start`` on to ``tokens`` (n,)."""
        place, done = bisect_right(self._starts, start) - 1, 0
        while done < len(tokens):
            part, first = self.parts[place], start + done - self._starts[place]
            n = min(len(tokens) - done, len(part) - first)
            tokens[done : done + n] = part[first : first + n]
            place, done = place + 1, done + n

    def between(self, start: int, stop: int) -> "TokenStream":
        """Return the tokens from ``start`` to ``stop`` as a stream, which reads nothing yet."""
        found = []
        for part, first in zip(self.parts, self._starts):
            low, high = max(start - first, 0), min(stop - first, len(part))
            if low < high:
                found.append(part[low:high])
        return TokenStream(found)

    @property
    def num_bytes(self) -> int:
        """Bytes of the parts, in memory or mapped."""
        return sum(part.nbytes for part in self.parts)

    def digest(self) -> str:
        """Return the number of tokens and a hash of blocks of them, by value."""
        return f"({len(self)} tokens) {digest_blocks(len(self), self._block)}"

    def _block(self, start: int, stop: int) -> np.ndarray:
        return self.read(start, stop).astype("<u4")
