"""Tiles of the fused kernels of attention: pure numbers, so that they can be tested without a GPU.

A tile of tokens has a row of HEAD numbers for each, the size of a head rounded up to one for which kernels are built, and
16 bytes between rows (kernels/common/attention_tiles.cuh).
"""

from collections.abc import Callable
from dataclasses import dataclass

from .kernel import Kernel, kernel
from .plan import Launch, ceil_div

HEADS = 32, 64, 80, 96, 128
WARPS = 4


@dataclass(frozen=True)
class Tile:
    """The macros of a kernel, and what follows from them.

    Attributes
    ----------
    head : int
        HEAD, the size of a head rounded up.
    warp_rows : int
        Rows of a warp, of those of a block: 16 or 32.
    other : int
        Rows of the tiles that a block goes through.
    stages : int
        Of these, in shared memory at a time.
    bf16, drops : bool
    name_of_other : str
        The macro for ``other``: TILE_K or TILE_Q.
    own_arrays, statistics : int
        Arrays whose tile of its own rows a block keeps, and numbers for each row of the others.
    """

    head: int
    warp_rows: int
    other: int
    stages: int
    bf16: bool
    drops: bool
    name_of_other: str = "TILE_K"
    own_arrays: int = 1
    statistics: int = 0

    threads = 32 * WARPS

    @property
    def own(self) -> int:
        """Rows of a block."""
        return self.warp_rows * WARPS

    @property
    def macros(self) -> dict[str, int]:
        made = {"HEAD": self.head, "WARP_ROWS": self.warp_rows, self.name_of_other: self.other, "STAGES": self.stages}
        return made | {"ELEMENT_BF16": int(self.bf16), "DROPS": int(self.drops)}

    @property
    def shared_bytes(self) -> int:
        pitch = self.head * (2 if self.bf16 else 4) + 16
        stage = self.other * (2 * pitch + 4 * self.statistics)
        return self.own_arrays * self.own * pitch + self.stages * stage

    def blocks(self, rows: int, matrices: int) -> int:
        """Return the number of blocks for so many rows of each of so many heads."""
        return ceil_div(rows, self.own) * matrices

    def launch(self, rows: int, matrices: int) -> Launch:
        return Launch((self.blocks(rows, matrices), 1, 1), (self.threads, 1, 1), self.shared_bytes)


@dataclass(frozen=True)
class Family:
    """A kernel and its tiles by (head, bf16, drops)."""

    file: str
    name: str
    tile_of: Callable[[int, bool, bool], Tile]

    def tile(self, size: int, bf16: bool, drops: bool) -> Tile:
        """Return the tile for heads of ``size`` numbers, at most 128."""
        return self.tile_of(next(head for head in HEADS if head >= size), bool(bf16), drops)

    def kernel(self, tile: Tile) -> Kernel:
        return kernel(self.file, tile.macros, name=self.name)


def _forward(head: int, bf16: bool, drops: bool) -> Tile:
    rows = 32 if bf16 or head < 128 else 16
    return Tile(head, rows, 64 if head <= (64 if bf16 else 32) and not drops else 32, 2, bf16, drops)


FORWARD = Family("attention_mma.cu", "attention_mma", _forward)


def _dq(head: int, bf16: bool, drops: bool) -> Tile:
    return Tile(head, 32 if head <= (96 if bf16 else 32) else 16, 32, 2, bf16, drops, own_arrays=2)


def _dkdv(head: int, bf16: bool, drops: bool) -> Tile:
    rows = 32 if head <= (64 if bf16 and not drops else 32) else 16
    return Tile(head, rows, 32, 2, bf16, drops, "TILE_Q", own_arrays=2, statistics=2)


DQ = Family("attention_mma_dq.cu", "attention_mma_dq", _dq)
DKDV = Family("attention_mma_dkdv.cu", "attention_mma_dkdv", _dkdv)
