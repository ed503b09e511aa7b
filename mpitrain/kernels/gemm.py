"""Matrix products: which kernel, tile and split of K, and the record that a launch passes (kernels/README.md).

out = epilogue(alpha A B + beta C)        A (M, K), B (K, N), C and out (M, N)
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .kernel import Kernel, arch_number, kernel
from .plan import Launch, ceil_div, shared_bytes_limit

EPILOGUES = ("none", "relu", "gelu", "gelu_tanh", "relu_gradient", "gelu_gradient", "gelu_tanh_gradient")
POINTERS = ("a", "b", "c", "bias", "out", "pre", "column_sums", "partials")
RECORD = np.dtype(
    [
        *((name, np.uint64) for name in POINTERS),
        *((f"{name}_batch", np.int64) for name in ("a", "b", "c", "out")),
        *((f"{name}_ld", np.int32) for name in ("a", "b", "c", "out")),
        *((name, np.int32) for name in ("m", "n", "k", "batch", "splits", "k_split")),
        ("alpha", np.float32),
        ("beta", np.float32),
    ],
    align=True,
)
assert RECORD.itemsize == 144, "the layout of struct Gemm"

SPLIT_STEP = 64  # k_split is a multiple of every kernel's TILE_K
MOST_SPLITS = 64
SUM_ROWS, SUM_COLUMNS, SUM_THREADS = 32, 128, 256  # of a block of gemm_sum


@dataclass(frozen=True)
class Shape:
    """What is multiplied.

    Attributes
    ----------
    inputs : str
        fp32, tf32 (fp32 in memory) or bf16.
    outputs : str
        fp32 or bf16.
    """

    m: int
    n: int
    k: int
    batch: int = 1
    transpose_a: bool = False
    transpose_b: bool = False
    inputs: str = "fp32"
    outputs: str = "fp32"
    epilogue: str = "none"


@dataclass(frozen=True)
class Tile:
    """A kernel with its tile: what a block computes, and how its warps share it."""

    kernel: str
    m: int
    n: int
    warp_m: int
    warp_n: int
    stages: int = 0

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.kernel.removeprefix('gemm_')}_{self.m}x{self.n}"

    @property
    def threads(self) -> int:
        """Of a block."""
        return self.m // self.warp_m * (self.n // self.warp_n) * 32

    @property
    def shared_bytes(self) -> int:
        """Dynamic shared memory of a block: a ring of stages, 128 bytes deep."""
        return self.stages * (self.m + self.n) * 128

    @property
    def slab(self) -> int:
        """Rows over which one column sum goes."""
        return self.warp_m

    @property
    def least_arch(self) -> int:
        """The oldest architecture it runs on."""
        return 75 if self.kernel == "gemm_simt" else 80

    def takes(self, shape: Shape, arch: str) -> bool:
        """Return whether it computes ``shape`` on ``arch``."""
        number = arch_number(arch)
        right_type = (self.kernel == "gemm_simt") == (shape.inputs == "fp32")
        return right_type and number >= self.least_arch and self.shared_bytes <= shared_bytes_limit(number)

    def built_for(self, shape: Shape) -> Kernel:
        """Return the kernel that computes ``shape`` in this tile."""
        macros = {
            "TRANSPOSE_A": int(shape.transpose_a),
            "TRANSPOSE_B": int(shape.transpose_b),
            "EPILOGUE": EPILOGUES.index(shape.epilogue),
            "TILE_M": self.m,
            "TILE_N": self.n,
            "WARP_M": self.warp_m,
            "WARP_N": self.warp_n,
        }
        if self.kernel == "gemm_simt":
            macros |= {"TILE_K": 8}
        else:
            macros |= {"STAGES": self.stages, "INPUT_BF16": int(shape.inputs == "bf16")}
            macros |= {"OUTPUT_BF16": int(shape.outputs == "bf16")}
        return kernel(f"{self.kernel}.cu", macros, least_arch=self.least_arch)


TILES = (
    Tile("gemm_simt", 128, 128, 64, 32),
    Tile("gemm_simt", 64, 64, 32, 32),
    Tile("gemm_simt", 32, 32, 32, 16),
    Tile("gemm_mma", 128, 128, 64, 32, stages=3),
    Tile("gemm_mma", 64, 64, 32, 32, stages=4),
)


@dataclass(frozen=True)
class GemmPlan:
    """A product as it is launched: one kernel, and gemm_sum after it where K is split.

    Attributes
    ----------
    k_split : int
        Depth of each part of K.
    slab : int
        Rows over which one column sum goes.
    """

    kernel: Kernel
    launch: Launch
    splits: int
    k_split: int
    sum_kernel: Kernel | None
    sum_launch: Launch | None
    slab: int


def make_plan(shape: Shape, tile: Tile, splits: int) -> GemmPlan:
    """Return the launches of ``shape`` in ``tile`` with K cut into about ``splits`` parts."""
    k_split = ceil_div(ceil_div(max(1, shape.k), max(1, splits)), SPLIT_STEP) * SPLIT_STEP
    splits = max(1, ceil_div(shape.k, k_split))
    tiles = ceil_div(shape.m, tile.m) * ceil_div(shape.n, tile.n)
    launch = Launch((tiles, splits, shape.batch), (tile.threads, 1, 1), tile.shared_bytes)
    built = tile.built_for(shape)
    if splits == 1:
        return GemmPlan(built, launch, 1, k_split, None, None, tile.slab)
    macros = {"EPILOGUE": EPILOGUES.index(shape.epilogue), "OUTPUT_BF16": int(shape.outputs == "bf16")}
    grid = ceil_div(shape.n, SUM_COLUMNS), ceil_div(shape.m, SUM_ROWS), shape.batch
    return GemmPlan(
        built,
        launch,
        splits,
        k_split,
        kernel("gemm_sum.cu", macros),
        Launch(grid, (SUM_THREADS, 1, 1)),
        SUM_ROWS,
    )


@lru_cache(maxsize=4096)
def split_choices(k: int) -> tuple[int, ...]:
    """Return the numbers of parts that are worth a thought: each part at least 4 steps of K long."""
    longest = min(MOST_SPLITS, k // (4 * SPLIT_STEP))
    return (1, *(2**i for i in range(1, max(1, longest).bit_length()) if 2**i <= longest))
