"""Tiles of the fused kernels of attention: pure numbers, so that they can be tested without a GPU.

A tile of tokens has a row of HEAD numbers for each, the size of a head rounded up to one for which kernels are built,
and 16 bytes between rows (kernels/attention/attention_tiles.cuh).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .kernel import Kernel, arch_number, kernel
from .plan import Launch, ceil_div, shared_bytes_limit

HEADS = 32, 64, 80, 96, 128
WARPS = 4
TICK = 16  # neighbors of a row whose masks are drawn at once: tiles of keys begin with one
DECODE_HEADS = 32, 64, 96, 128
DECODE_THREADS = 128
FEW = 4  # queries of a head: so many are decoded
LEAST_KEYS = 128  # of a part: two turns of a block's loop
DECODE_BLOCKS = 3  # for each multiprocessor: as many as run at once
STATIC_BYTES = 2048  # shared memory beside the tiles, at most


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
        """The macros of the kernel."""
        made = {"HEAD": self.head, "WARP_ROWS": self.warp_rows, self.name_of_other: self.other, "STAGES": self.stages}
        return made | {"ELEMENT_BF16": int(self.bf16), "DROPS": int(self.drops)}

    @property
    def shared_bytes(self) -> int:
        """Dynamic shared memory of a block."""
        pitch = self.head * (2 if self.bf16 else 4) + 16
        stage = self.other * (2 * pitch + 4 * self.statistics)
        return self.own_arrays * self.own * pitch + self.stages * stage

    def blocks(self, rows: int, matrices: int) -> int:
        """Return the number of blocks for so many rows of each of so many heads."""
        return ceil_div(rows, self.own) * matrices

    def launch(self, rows: int, matrices: int) -> Launch:
        """Return the launch for so many rows of each of so many heads."""
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
        """Return the kernel built for ``tile``."""
        return kernel(self.file, tile.macros, name=self.name)


def _forward(head: int, bf16: bool, drops: bool) -> Tile:
    rows = 32 if head < 128 or (bf16 and not drops) else 16
    return Tile(head, rows, 64 if head <= (64 if bf16 else 32) and not drops else 32, 2, bf16, drops)


FORWARD = Family("attention_mma.cu", "attention_mma", _forward)


def _dq(head: int, bf16: bool, drops: bool) -> Tile:
    return Tile(head, 32 if head <= (96 if bf16 else 32) else 16, 32, 2, bf16, drops, own_arrays=2)


def _dkdv(head: int, bf16: bool, drops: bool) -> Tile:
    rows = 32 if head <= (64 if bf16 and not drops else 32) else 16  # two gradients take registers
    return Tile(head, rows, 32, 2, bf16, drops, "TILE_Q", own_arrays=2, statistics=2)


DQ = Family("attention_mma_dq.cu", "attention_mma_dq", _dq)
DKDV = Family("attention_mma_dkdv.cu", "attention_mma_dkdv", _dkdv)

FORWARD_KERNELS, DQ_KERNELS, DKDV_KERNELS = (FORWARD,), (DQ,), (DKDV,)
"""Families by what they write, the best one first."""


class Chosen(NamedTuple):
    """A kernel and its tile."""

    kernel: Kernel
    tile: Tile


class Decoding(NamedTuple):
    """Kernels for few queries, and how they are launched (kernels/attention/attention_decode.cu).

    Attributes
    ----------
    decode, merge : Kernel
    parts : int
        Parts of the keys, each of which has blocks of its own; above 1 ``merge`` puts them together.
    keys_of_part : int
    blocks : int
    """

    decode: Kernel
    merge: Kernel
    parts: int
    keys_of_part: int
    blocks: int


def decoding(rows: int, matrices: int, num_keys: int, size: int, bf16: bool, num_processors: int) -> Decoding:
    """Return how ``rows`` queries of a group read ``num_keys`` keys, for each of so many heads of keys and values.

    >>> decoding(4, 8, 4096, 64, True, 132)[2:]
    (32, 128, 256)
    """
    head = next(each for each in DECODE_HEADS if each >= size)
    at_once = 2 if head > 64 else 256 // head  # ROWS
    matrices *= ceil_div(rows, at_once)
    parts = max(1, min(ceil_div(DECODE_BLOCKS * num_processors, matrices), num_keys // LEAST_KEYS))
    keys_of_part = ceil_div(ceil_div(num_keys, parts), LEAST_KEYS) * LEAST_KEYS
    parts = ceil_div(num_keys, keys_of_part)
    macros = {"HEAD": head, "ELEMENT_BF16": int(bf16)}
    decode, merge = (kernel("attention_decode.cu", macros, name=f"attention_{name}") for name in ("decode", "merge"))
    return Decoding(decode, merge, parts, keys_of_part, parts * matrices)


def choose(families: Sequence[Family], arch: str, size: int, bf16: bool, drops: bool) -> Chosen | None:
    """Return the first of ``families`` that runs on ``arch``; None if none does."""
    for family in families:
        tile = family.tile(size, bf16, drops)
        found = Chosen(family.kernel(tile), tile)
        if found.kernel.fits(arch) and tile.shared_bytes + STATIC_BYTES <= shared_bytes_limit(arch_number(arch)):
            return found
    return None


def all_kernels() -> Iterator[Kernel]:
    """Yield all kernels that may be chosen on some architecture."""
    for family in (*FORWARD_KERNELS, *DQ_KERNELS, *DKDV_KERNELS):
        for head in HEADS:
            for bf16 in (False, True):
                for drops in (False, True):
                    yield family.kernel(family.tile(head, bf16, drops))
    for head in DECODE_HEADS:
        for bf16 in (False, True):
            yield from decoding(1, 1, 1, head, bf16, 1)[:2]
