"""The tokens of each rank: neighbors, or in zigzag order, which gives all ranks the same work under a causal mask.

Shapes: rows of T tokens, of which rank r has T_r: its runs of neighbors, one after the other.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data.sampler import share
from ...device import device_of

Run = tuple[int, int]
"""Neighboring tokens (start, stop)."""


@dataclass(frozen=True)
class TokenParts:
    """The tokens of each rank.

    Parameters
    ----------
    length : int
        T.
    runs : tuple of tuple of Run
        Those of each rank, in ascending order; none of them empty.
    """

    length: int
    runs: tuple[tuple[Run, ...], ...]

    @classmethod
    def contiguous(cls, length: int, size: int) -> "TokenParts":
        """Return parts of neighbors, whose lengths differ by 1 at most.

        >>> TokenParts.contiguous(5, 3).runs
        (((0, 2),), ((2, 4),), ((4, 5),))
        """
        parts = (share(length, rank, size) for rank in range(size))
        return cls(length, tuple(_joined([(part.start, part.stop)]) for part in parts))

    @classmethod
    def zigzag(cls, length: int, size: int) -> "TokenParts":
        """Return parts r and 2P - 1 - r of 2P parts for rank r: one that sees few tokens, and one that sees many.

        >>> TokenParts.zigzag(8, 2).runs, TokenParts.zigzag(3, 3).runs
        ((((0, 2), (6, 8)), ((2, 6),)), (((0, 1),), ((1, 2),), ((2, 3),)))
        """
        parts = [(part.start, part.stop) for part in (share(length, i, 2 * size) for i in range(2 * size))]
        return cls(length, tuple(_joined([parts[rank], parts[-1 - rank]]) for rank in range(size)))

    @property
    def lengths(self) -> list[int]:
        """The number of tokens of each rank."""
        return [sum(stop - start for start, stop in runs) for runs in self.runs]

    def places(self, rank: int) -> list[tuple[slice, int]]:
        """Return the place of each run among the tokens of a rank, and its first token in the row.

        >>> TokenParts.zigzag(8, 2).places(0)
        [(slice(0, 2, None), 0), (slice(2, 4, None), 6)]
        """
        found, begin = [], 0
        for start, stop in self.runs[rank]:
            found.append((slice(begin, begin + stop - start), start))
            begin += stop - start
        return found

    def take(self, whole: Any, rank: int, dim: int = 1) -> Any:
        """Return a copy of the part of a rank, of an array with all tokens along ``dim``."""
        if whole.shape[dim] != self.length:
            raise ValueError(f"an array {whole.shape} has no {self.length} tokens in dimension {dim}")
        shape = (*whole.shape[:dim], self.lengths[rank], *whole.shape[dim + 1 :])
        part = device_of(whole).empty(shape, whole.dtype)
        before = (slice(None),) * dim
        for (start, stop), (own, _) in zip(self.runs[rank], self.places(rank), strict=True):
            part[(*before, own)] = whole[(*before, slice(start, stop))]
        return part

    def put(self, part: Any, rank: int, whole: Any, dim: int = 1) -> None:
        """Write the part of a rank to its place in an array with all tokens along ``dim``."""
        before = (slice(None),) * dim
        for (start, stop), (own, _) in zip(self.runs[rank], self.places(rank), strict=True):
            whole[(*before, slice(start, stop))] = part[(*before, own)]

    def numbers(self, rank: int) -> np.ndarray:
        """Return the tokens of a rank, (T_r,) int64."""
        return np.concatenate([np.empty(0, np.int64), *(np.arange(*run) for run in self.runs[rank])])


def _joined(runs: list[Run]) -> tuple[Run, ...]:
    """Return the runs that are not empty; those that meet are one."""
    found: list[Run] = []
    for start, stop in runs:
        if start == stop:
            continue
        if found and found[-1][1] == start:
            found[-1] = found[-1][0], stop
        else:
            found.append((start, stop))
    return tuple(found)
