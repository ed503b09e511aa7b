"""Tiles of attention on Hopper: pure numbers, so that they can be tested without a GPU.

A tile of tokens takes 128 bytes of shared memory for each 64 numbers of a head, or a part of them
(kernels/attention/attention_wgmma.cuh). Blocks are persistent: as many as there are multiprocessors take all tiles.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from .kernel import Kernel, kernel
from .plan import Launch, ceil_div

HEADS = 32, 64, 80, 96, 128  # sizes of heads for which kernels are built
BOX = 64  # numbers of a head in a box, 128 bytes
RING = 2  # of the tiles of which a consumer owns the rows: those of the next tile come meanwhile
MOST_TILES = 2**31 - 1


@dataclass(frozen=True)
class Tile:
    """A kernel, and what its macros make of it.

    Attributes
    ----------
    name : str
        Of the kernel and of its file.
    size : int
        HEAD_SIZE.
    consumers : int
        Warpgroups of 64 rows each.
    other : int
        Rows of the tiles that a block goes through.
    stages : int
        Of these, in shared memory at a time.
    own_arrays, other_arrays : int
        Arrays of which tiles are brought: of a block's own rows, and of the others.
    own_stages : int
    statistics : int
        Bytes for each of the other rows.
    """

    name: str
    size: int
    consumers: int
    other: int
    stages: int
    own_arrays: int
    own_stages: int = RING
    other_arrays: int = 2
    statistics: int = 0

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.name}.cu"

    @property
    def own(self) -> int:
        """Rows of a block."""
        return 64 * self.consumers

    @property
    def threads(self) -> int:
        """Threads of a block: a warpgroup that brings tiles, and the consumers."""
        return 128 * (self.consumers + 1)

    @property
    def shared_bytes(self) -> int:
        """Dynamic shared memory of a block: rings of tiles, two barriers for each, and room to align them."""
        row = 128 * ceil_div(self.size, BOX)
        rings = self.own_arrays * self.own_stages, self.other_arrays * self.stages
        tiles = (rings[0] * self.own + rings[1] * self.other) * row
        return 1024 + tiles + self.stages * self.other * self.statistics + 2 * 8 * sum(rings)

    @property
    def own_box(self) -> tuple[int, int]:
        """The box of the maps of a block's own rows."""
        return BOX, self.own

    @property
    def other_box(self) -> tuple[int, int]:
        """The box of the maps of the others."""
        return BOX, self.other

    @property
    def kernel(self) -> Kernel:
        """The kernel of this size of heads."""
        return kernel(self.file, {"HEAD_SIZE": self.size})

    def launch(self, rows: int, matrices: int, num_processors: int) -> Launch:
        """Return the launch for so many rows of each of so many heads, at least one."""
        tiles = ceil_div(rows, self.own) * matrices
        return Launch((min(tiles, num_processors), 1, 1), (self.threads, 1, 1), self.shared_bytes)

    def counts(self, rows: int, matrices: int) -> bool:
        """Return whether a kernel can count all tiles, one round of blocks beyond the last included."""
        return (ceil_div(rows, self.own) + 1) * matrices + 2**16 <= MOST_TILES


def forward(size: int) -> Tile:
    """Return the tile of attention_wgmma for heads of a size of HEADS."""
    small = size <= BOX
    return Tile("attention_wgmma", size, 3 if small else 2, 128, 4 if small else 2, 1)


def backward_keys(size: int) -> Tile:
    """Return the tile of attention_wgmma_dkv: keys own it, and it goes through queries."""
    small = size <= BOX
    return Tile("attention_wgmma_dkv", size, 2, 64, 4 if small else 2, 2, statistics=8)


def backward_queries(size: int) -> Tile:
    """Return the tile of attention_wgmma_dq."""
    small = size <= BOX
    return Tile("attention_wgmma_dq", size, 2, 128, 4 if small else 2, 2, 2 if small else 1)


def all_kernels() -> Iterator[Kernel]:
    """Yield the kernels that devices may take."""
    for size in HEADS:
        for make in (forward, backward_keys, backward_queries):
            yield make(size).kernel
