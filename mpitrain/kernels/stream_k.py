"""Stream-K: how gemm_wgmma shares K of the tiles of a product out (kernels/products/stream_k.cuh, with a picture).

First come ``whole`` tiles, as many for each cluster of blocks, through all of K. K of the others, which are fewer than
clusters, is cut: ``parts`` parts of ``depth`` steps for each tile, and a tail. All tails are a stream, of which the
remaining clusters take equal shares.
"""

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from .plan import ceil_div

STEP = 64  # of K
FIELDS = ("whole", "shared", "parts", "depth", "tail", "share", "items", "tile_m", "tile_n")
RECORD = np.dtype([(name, np.int32) for name in FIELDS])
KEEP_STEPS = 4
"""The steps that could be done while sums are kept: 4 bytes of each at 32 bytes a clock, and 2048 FMA a clock."""
MOST_STEPS = 2**30  # of all tiles, which are counted in 32 bits


class Piece(NamedTuple):
    """Steps ``first`` to ``stop`` - 1 of a tile; ``plane``: the number of the piece in that tile, -1 if it is all."""

    tile: int
    first: int
    stop: int
    plane: int


@dataclass(frozen=True)
class StreamK:
    """The work of clusters, item by item: whole tiles, parts, shares of the stream (the fields of struct StreamK).

    Attributes
    ----------
    depth, tail, share : int
        In steps: of a part, of what is left over of each tile, of a share of the stream (0 where nothing is left).
    tile_m, tile_n : int
        The tile that a cluster computes.
    """

    whole: int
    shared: int
    parts: int
    depth: int
    tail: int
    share: int
    items: int
    tile_m: int
    tile_n: int

    @cached_property
    def record(self) -> np.ndarray:
        """The record that kernels take."""
        return np.array(astuple(self), RECORD)

    @property
    def planes(self) -> int:
        """The largest number of pieces of a tile."""
        return max(map(self.planes_of, self._slots), default=1)

    def planes_of(self, slot: int) -> int:
        """Return the number of pieces of shared tile number ``slot``."""
        if not self.tail:
            return self.parts
        return self.parts + ((slot + 1) * self.tail - 1) // self.share - slot * self.tail // self.share + 1

    @property
    def num_partials(self) -> int:
        """Sums that are kept, of all pieces."""
        kept = sum(map(self.planes_of, self._slots)) if self.share != self.tail else self.shared * self.planes
        return kept * self.tile_m * self.tile_n if self.shared else 0

    @property
    def partial_bytes(self) -> int:
        """The size of ``partials``."""
        return 4 * self.planes * self.shared * self.tile_m * self.tile_n if self.shared else 0

    @property
    def most_pieces(self) -> int:
        """The largest number of pieces of an item."""
        if self.share == self.tail:
            return 1
        return max(len(self.pieces(item)) for item in range(self.whole + self.shared * self.parts, self.items))

    @property
    def _slots(self) -> range:
        """Shared tiles among which those with the most pieces are."""
        return range(self.shared if self.share != self.tail else min(1, self.shared))

    def pieces(self, item: int) -> list[Piece]:
        """Return the pieces of an item in the order in which they are computed."""
        part = item - self.whole
        if part < 0:
            return [Piece(item, 0, self.parts * self.depth + self.tail, -1)]
        plane, slot = divmod(part, max(1, self.shared))
        if plane < self.parts:
            return [Piece(self.whole + slot, plane * self.depth, (plane + 1) * self.depth, plane)]
        return [*self._of_share(part - self.shared * self.parts)]

    def _of_share(self, number: int) -> Iterator[Piece]:
        stop = min((number + 1) * self.share, self.shared * self.tail)
        while stop > number * self.share:
            slot = (stop - 1) // self.tail
            first = max(number * self.share, slot * self.tail)
            before = self.parts * self.depth - slot * self.tail
            plane = self.parts + number - slot * self.tail // self.share
            yield Piece(self.whole + slot, before + first, before + stop, plane)
            stop = first


def whole_tiles(tiles: int, steps: int, tile: tuple[int, int]) -> StreamK:
    """Return a plan that cuts nothing."""
    return StreamK(tiles, 0, 1, steps, 0, 0, tiles, *tile)


def split_k(tiles: int, steps: int, splits: int, tile: tuple[int, int]) -> StreamK:
    """Return K of every tile cut into ``splits`` parts, the last of which may be shorter."""
    depth = ceil_div(steps, splits)
    parts = steps // depth
    tail = steps - parts * depth
    return StreamK(0, tiles, parts, depth, tail, tail, tiles * (parts + (tail > 0)), *tile)


def stream_k(tiles: int, steps: int, workers: int, tile: tuple[int, int]) -> StreamK | None:
    """Return shares for ``workers`` clusters that are equal in steps, those in which sums are kept among them.

    None where there is nothing to gain: tiles that make whole waves, or no K to cut.
    """
    shared = tiles % workers
    if not shared or shared * steps > MOST_STEPS:
        return None
    depth = ceil_div(shared * (steps + KEEP_STEPS), workers)
    parts = steps // depth
    tail, takers = steps - parts * depth, workers - shared * parts
    if not parts or depth == steps or (tail and takers < 1):
        return None
    share = ceil_div(shared * tail, takers) if tail else 0
    shares = ceil_div(shared * tail, share) if tail else 0
    return StreamK(tiles - shared, shared, parts, depth, tail, share, tiles - shared + shared * parts + shares, *tile)
