"""Launch configurations: pure numbers, so that they can be tested without a GPU."""

from dataclasses import dataclass

from ..errors import UserError

Three = tuple[int, int, int]

PIECE = 4  # elements that a thread takes at a time
THREADS = 256  # of a block of a kernel that loops over its items
LOOP_BLOCKS = 32  # for each multiprocessor, of kernels that loop in two dimensions: a few times what run at once
MOST_ACROSS = 2**31 - 1  # items that a kernel counts in 32 bits
MOST_THREADS = 1024
MOST_BLOCKS: Three = (2**31 - 1, 65535, 65535)
MOST_SHARED_BYTES = {75: 64 << 10, 80: 163 << 10, 86: 99 << 10, 87: 163 << 10, 89: 99 << 10, 90: 227 << 10}


@dataclass(frozen=True)
class Launch:
    """Grid, block and dynamic shared memory.

    Attributes
    ----------
    cluster : int
        Blocks of a cluster. Above 1, blocks stay for tile after tile, and the grid is cut to the clusters that the GPU
        says run at once: one that waited for another to end would double the time.

    Raises
    ------
    ValueError
        If no GPU could launch it.
    """

    grid: Three
    block: Three
    shared_bytes: int = 0
    cluster: int = 1

    def __post_init__(self) -> None:
        threads = self.block[0] * self.block[1] * self.block[2]
        if not 1 <= threads <= MOST_THREADS:
            raise ValueError(f"a block of {threads} threads: there must be 1 to {MOST_THREADS}")
        if not fits_grid(self.grid):
            raise ValueError(f"a grid of {self.grid} blocks: there must be 1 to {MOST_BLOCKS}")


def fits_grid(grid: Three) -> bool:
    """Return whether a GPU can launch that many blocks."""
    return all(1 <= have <= most for have, most in zip(grid, MOST_BLOCKS, strict=True))


def across_down(across: int, down: int, num_processors: int, layers: int = 1) -> Launch:
    """Return the launch of a kernel that loops over items in up to three dimensions (kernels/common/elements.cuh).

    Each thread keeps its place in a row of ``across`` items, and takes it in as many of ``down`` rows as suffice to
    occupy the GPU.

    Raises
    ------
    UserError
        If a row has more items than a kernel can count.

    >>> across_down(16, 50176, 132)
    Launch(grid=(1, 3136, 1), block=(16, 16, 1), shared_bytes=0)
    """
    if across > MOST_ACROSS:
        raise UserError(f"{across:,} items in one row or image: a kernel counts up to {MOST_ACROSS:,}")
    wide = min(across, ceil_div(ceil_div(across, ceil_div(across, THREADS)), 32) * 32)  # rows are cut evenly
    high = min(THREADS // wide, down)
    columns, deep = ceil_div(across, wide), min(layers, MOST_BLOCKS[2])
    rows = min(ceil_div(down, high), ceil_div(LOOP_BLOCKS * num_processors, columns * deep), MOST_BLOCKS[1])
    return Launch((columns, rows, deep), (wide, high, 1))


def shared_bytes_limit(arch: int) -> int:
    """Return the dynamic shared memory that a block may have; for an unknown architecture, the least of all."""
    return MOST_SHARED_BYTES.get(arch, 48 << 10 if arch < 75 else 99 << 10)


def ceil_div(a: int, b: int) -> int:
    """Return a / b, rounded up."""
    return -(-a // b)
