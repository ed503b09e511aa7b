"""Plans of matrix products: how K is cut, and the launches of a kernel and of the sum of its parts."""

from dataclasses import dataclass
from functools import lru_cache

from .gemm import EPILOGUES, Box, Shape, Tile
from .kernel import Kernel, kernel
from .plan import Launch, Three, ceil_div, fits_grid
from .stream_k import STEP, StreamK, split_k, stream_k, whole_tiles

SPLIT_STEP = 64  # k_split is a multiple of every kernel's TILE_K
MOST_SPLITS = 64
STREAM = 0  # in place of a number of parts of K: stream-K
SUM_ROWS, SUM_COLUMNS, SUM_THREADS = 32, 128, 256  # of a block of gemm_sum
STREAM_SUMS = 16 * 32 * 8  # of a block of gemm_sum_stream


@dataclass(frozen=True)
class GemmPlan:
    """The launches of a product: one kernel, and gemm_sum or gemm_sum_stream after it where K is cut.

    Attributes
    ----------
    splits : int
        Parts of K; with stream-K, the most of one tile.
    k_split : int
        Depth of each part of K.
    slab : int
        The number of rows of one column sum.
    pieces : int
        Tiles of all parts of K of all matrices; with stream-K, a share counts as one.
    boxes : (box of A, box of B, box of out) or None
        For a kernel that takes tensor maps before its record.
    stream : StreamK or None
        For the same kernel: the work of its blocks.
    """

    kernel: Kernel
    launch: Launch
    splits: int
    k_split: int
    sum_kernel: Kernel | None
    sum_launch: Launch | None
    slab: int
    pieces: int
    boxes: tuple[Box, Box, Box] | None = None
    stream: StreamK | None = None

    def num_partials(self, shape: Shape) -> int:
        """Return how many partial sums are written, and added."""
        if self.stream is not None:
            return self.stream.num_partials
        return self.splits * shape.m * shape.n * shape.batch if self.splits > 1 else 0

    @property
    def is_stream_k(self) -> bool:
        """True if the shares of blocks do not end where tiles or equal parts of K do."""
        return self.stream is not None and self.stream.share != self.stream.tail


def make_plan(shape: Shape, tile: Tile, splits: int, num_processors: int = 132) -> GemmPlan:
    """Return the launches of ``shape`` in ``tile`` with K cut into about ``splits`` parts (or STREAM: shared out)."""
    if tile.kernel == "gemm_wgmma":
        return _persistent_plan(shape, tile, splits, num_processors)
    k_split = ceil_div(ceil_div(max(1, shape.k), max(1, splits)), SPLIT_STEP) * SPLIT_STEP
    splits = max(1, ceil_div(shape.k, k_split))
    tiles = ceil_div(shape.m, tile.m) * ceil_div(shape.n, tile.n)
    pieces = tiles * splits * shape.batch
    launch = Launch((tiles, splits, shape.batch), (tile.threads, 1, 1), tile.shared_bytes)
    built = tile.built_for(shape)
    if splits == 1:
        return GemmPlan(built, launch, 1, k_split, None, None, tile.slab, pieces)
    summed = Launch(sum_grid(shape), (SUM_THREADS, 1, 1))
    return GemmPlan(built, launch, splits, k_split, _sum_kernel("gemm_sum", shape), summed, SUM_ROWS, pieces)


def _share_out(shape: Shape, tile: Tile, splits: int, num_processors: int) -> StreamK:
    """Return the work of gemm_wgmma's clusters."""
    tiles = ceil_div(shape.m, tile.m) * ceil_div(shape.n, tile.n) * shape.batch
    steps, area = max(1, ceil_div(shape.k, STEP)), (tile.m, tile.n)
    cut = split_k(tiles, steps, splits, area) if splits > 1 else None
    if splits == STREAM:
        cut = stream_k(tiles, steps, max(1, num_processors // tile.cluster), area)
    return whole_tiles(tiles, steps, area) if cut is None or cut.planes == 1 else cut


def _persistent_plan(shape: Shape, tile: Tile, splits: int, num_processors: int) -> GemmPlan:
    clusters = max(1, num_processors // tile.cluster)
    stream = _share_out(shape, tile, splits, num_processors)
    grid = min(stream.items, clusters) * tile.cluster, 1, 1
    summed = ceil_div(stream.shared * tile.m * tile.n, STREAM_SUMS)
    return GemmPlan(
        tile.built_for(shape),
        Launch(grid, (tile.threads, 1, 1), tile.shared_bytes, tile.cluster),
        stream.planes,
        stream.depth * STEP,
        _sum_kernel("gemm_sum_stream", shape) if summed else None,
        Launch((summed, 1, 1), (SUM_THREADS, 1, 1)) if summed else None,
        tile.slab,
        stream.items,
        tile.boxes(shape),
        stream,
    )


def _sum_kernel(name: str, shape: Shape) -> Kernel:
    macros = {"EPILOGUE": EPILOGUES.index(shape.epilogue), "OUTPUT_BF16": int(shape.outputs == "bf16")}
    return kernel(f"{name}.cu", macros)


def sum_grid(shape: Shape) -> Three:
    """Return the blocks of gemm_sum."""
    return ceil_div(shape.m, SUM_ROWS), ceil_div(shape.n, SUM_COLUMNS), shape.batch


@lru_cache(maxsize=4096)
def split_choices(shape: Shape) -> tuple[int, ...]:
    """Return the numbers of parts of K to consider: each is at least 4 steps long, and gemm_sum can add them."""
    longest = min(MOST_SPLITS, shape.k // (4 * SPLIT_STEP)) if fits_grid(sum_grid(shape)) else 1
    return (1, *(2**i for i in range(1, max(1, longest).bit_length()) if 2**i <= longest))


def ways_to_cut(shape: Shape, tile: Tile, num_processors: int) -> tuple[int, ...]:
    """Return the numbers of parts of K to consider for ``tile``, and STREAM where its kernel can share K out."""
    splits = split_choices(shape)
    streams = tile.kernel == "gemm_wgmma" and _share_out(shape, tile, STREAM, num_processors).shared > 0
    return (*splits, STREAM) if streams else splits
