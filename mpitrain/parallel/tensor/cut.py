"""Division of the last dimension of an array among ranks: features, channels, heads, a vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...parameter import Shard

AXIS = "tensor"

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Cut:
    """A dimension divided among ranks.

    Parameters
    ----------
    length : int
        The whole length.
    parts : tuple of ranges
        What each rank has: pairs (start, stop) in ascending order.
    """

    length: int
    parts: tuple[Ranges, ...]

    @classmethod
    def even(cls, length: int, size: int, groups: int = 1) -> "Cut":
        """Return parts of lengths that differ by 1 at most; of ``groups`` equal blocks each is divided alike.

        >>> Cut.even(5, 2).parts, Cut.even(8, 2, groups=2).parts
        ((((0, 3),), ((3, 5),)), (((0, 2), (4, 6)), ((2, 4), (6, 8))))
        """
        return cls(length, tuple(Shard.even(0, length, rank, size, groups).ranges for rank in range(size)))

    @property
    def lengths(self) -> list[int]:
        """The numbers that each rank has."""
        return [sum(stop - start for start, stop in ranges) for ranges in self.parts]

    @property
    def is_in_order(self) -> bool:
        """True if the parts one after the other are the whole."""
        ends = [0, *(stop for ranges in self.parts for _, stop in ranges)]
        starts = [start for ranges in self.parts for start, _ in ranges]
        return starts == ends[:-1] and ends[-1] == self.length

    def shard(self, dim: int, rank: int) -> Shard:
        """Return the part of a rank, of a tensor whose dimension ``dim`` this is."""
        return Shard(dim, self.parts[rank], AXIS)

    def repeated(self, count: int) -> "Cut":
        """Return the cut of ``count`` blocks one after the other, of which each is cut like this (pixels of images)."""
        return Cut(self.length * count, tuple(_repeat(ranges, self.length, count) for ranges in self.parts))

    def folded(self, groups: int) -> "Cut":
        """Return the cut of one of ``groups`` equal blocks, which are cut alike."""
        block = self.length // groups
        return Cut(block, tuple(tuple(each for each in ranges if each[1] <= block) for ranges in self.parts))


def _repeat(ranges: Ranges, length: int, count: int) -> Ranges:
    """Return the ranges of all blocks; those that meet are one."""
    found = [(block * length + start, block * length + stop) for block in range(count) for start, stop in ranges]
    if not found:
        return ()
    places: Sequence[int] = [i for i, (a, b) in enumerate(pairwise(found)) if a[1] != b[0]]
    firsts, lasts = [0, *(i + 1 for i in places)], [*places, len(found) - 1]
    return tuple((found[first][0], found[last][1]) for first, last in zip(firsts, lasts, strict=True))
