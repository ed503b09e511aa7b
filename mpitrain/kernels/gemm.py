"""Matrix products: kernels, tiles, splits of K, and the record that a launch passes (kernels/README.md).

out = epilogue(alpha A B + beta C)        A (M, K), B (K, N), C and out (M, N)
"""

import struct
from dataclasses import dataclass

import numpy as np

from .kernel import Kernel, arch_number, kernel
from .plan import ceil_div, shared_bytes_limit

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
PACKED = struct.Struct("8Q4q10i2f")
"""The fields of RECORD, for launches: packing them takes a part of the time that NumPy's fields take."""
assert PACKED.size == RECORD.itemsize, "the fields of RECORD"

INPUTS = {"gemm_simt": ("fp32",), "gemm_mma": ("tf32", "bf16"), "gemm_wgmma": ("bf16", "tf32")}
INPUTS |= {"conv2d_simt": ("fp32",), "conv2d_mma": ("tf32", "bf16"), "conv2d_wgmma": ("bf16",)}
INPUTS["conv2d_lines_wgmma"] = ("bf16",)
LEAST_ARCH = {"gemm_simt": 75, "gemm_mma": 80, "gemm_wgmma": 90}
LEAST_ARCH |= {"conv2d_simt": 75, "conv2d_mma": 80, "conv2d_wgmma": 90, "conv2d_lines_wgmma": 90}
BOX = 64  # bf16 in a row of 128 bytes, as the copy engine writes them for gemm_wgmma
BOX_FP32 = 32
WGMMA_ROWS, WGMMA_THREADS = 128, 384  # of a block: one producer and two consumers
WGMMA_WARPS = 8  # of the consumers
CHUNK_BYTES, CHUNK_ROWS = 128 * 16, 16  # of the boxes in which they write
BARRIER_BYTES = 8

Box = tuple[int, int]
"""Columns and rows that the copy engine moves at once."""


@dataclass(frozen=True)
class Shape:
    """Sizes, layouts and types of a product.

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
    """A kernel with its tile: the part of out that a block (or a cluster of blocks) computes, and its warps' parts.

    Attributes
    ----------
    rows : int
        Kernels of wgmma: those of m that one block of a cluster computes.
    buffers : int
        gemm_wgmma: chunks of results of each warp that may be on their way to memory.
    column_bytes : int
        conv2d_wgmma: shared memory in which warps add up their columns.
    ping_pong : bool
        gemm_wgmma: whether its two consumers take tiles in turn (else, each half of a tile).
    """

    kernel: str
    m: int
    n: int
    warp_m: int
    warp_n: int
    stages: int = 0
    rows: int = WGMMA_ROWS
    buffers: int = 0
    ping_pong: bool = False
    column_bytes: int = 0

    @property
    def name(self) -> str:
        """The name in the table."""
        return f"{self.kernel.removeprefix('gemm_')}_{self.m}x{self.n}" + "_ping_pong" * self.ping_pong

    @property
    def is_persistent(self) -> bool:
        """True if a block computes tile after tile, fed by the copy engine (kernels named _wgmma)."""
        return self.kernel.endswith("_wgmma")

    @property
    def cluster(self) -> int:
        """Blocks that compute a tile together."""
        return self.m // self.rows if self.is_persistent else 1

    @property
    def threads(self) -> int:
        """Threads of a block."""
        if self.is_persistent:
            return WGMMA_THREADS
        return self.m // self.warp_m * (self.n // self.warp_n) * 32

    @property
    def shared_bytes(self) -> int:
        """Dynamic shared memory of a block: a ring of stages, 128 bytes deep.

        With their mbarriers, the buffers of results and an alignment, for kernels of wgmma. B may come in whole boxes.
        """
        if not self.is_persistent:
            return self.stages * (self.m + self.n) * 128
        ring = self.stages * ((self.rows + ceil_div(self.n, BOX) * BOX) * 128 + 2 * BARRIER_BYTES)
        return ring + WGMMA_WARPS * self.buffers * (CHUNK_BYTES + BARRIER_BYTES) + self.column_bytes + 1024

    @property
    def slab(self) -> int:
        """The number of rows of one column sum."""
        return self.warp_m

    @property
    def least_arch(self) -> int:
        """Oldest architecture of the kernel."""
        return LEAST_ARCH[self.kernel]

    def takes(self, shape: Shape, arch: str) -> bool:
        """Return whether it can compute ``shape`` on ``arch``."""
        number = arch_number(arch)
        runs = arch == "sm_90a" if self.is_persistent else number >= self.least_arch
        if self.is_persistent and self.n % BOX and not _k_contiguous_b(shape):
            return False  # a part of each box of B would be fetched in vain
        return runs and shape.inputs in INPUTS[self.kernel] and self.shared_bytes <= shared_bytes_limit(number)

    def boxes(self, shape: Shape) -> tuple[Box, Box, Box] | None:
        """Return the boxes in which the copy engine fetches A and B from memory, and writes out."""
        if not self.is_persistent:
            return None
        out = (BOX if shape.outputs == "bf16" else BOX_FP32, CHUNK_ROWS)
        if shape.inputs == "tf32":  # made contiguous in k beforehand (round_tf32.py)
            return (BOX_FP32, self.rows), (BOX_FP32, self.n // self.cluster), out
        a_rows = BOX if shape.transpose_a else self.rows
        return (BOX, a_rows), (BOX, self.n // self.cluster if shape.transpose_b else BOX), out

    def built_for(self, shape: Shape) -> Kernel:
        """Return the kernel that computes ``shape`` in this tile."""
        transposed = self.is_persistent and shape.inputs == "tf32"
        macros = {
            "TRANSPOSE_A": int(shape.transpose_a and not transposed),
            "TRANSPOSE_B": int(shape.transpose_b or transposed),
            "EPILOGUE": EPILOGUES.index(shape.epilogue),
            "TILE_N": self.n,
        }
        if self.is_persistent:
            macros |= {"TILE_M": self.rows, "CLUSTER": self.cluster}
            macros |= {"BUFFERS": self.buffers, "PING_PONG": int(self.ping_pong)}
        else:
            macros |= {"TILE_M": self.m, "WARP_M": self.warp_m, "WARP_N": self.warp_n}
        if self.kernel == "gemm_simt":
            macros |= {"TILE_K": 8}
        else:
            macros |= {"STAGES": self.stages, "INPUT_BF16": int(shape.inputs == "bf16")}
            macros |= {"OUTPUT_BF16": int(shape.outputs == "bf16")}
        return kernel(f"{self.kernel}.cu", macros)


def _k_contiguous_b(shape: Shape) -> bool:
    """Return whether gemm_wgmma reads B as (N, K)."""
    return shape.transpose_b or shape.inputs == "tf32"


def _wgmma(m: int, rows: int, n: int, *, stages: int, buffers: int, ping_pong: bool = False) -> Tile:
    return Tile("gemm_wgmma", m, n, CHUNK_ROWS, n, stages, rows, buffers, ping_pong)


TILES = (
    Tile("gemm_simt", 128, 128, 64, 32),
    Tile("gemm_simt", 64, 64, 32, 32),
    Tile("gemm_simt", 32, 32, 32, 16),
    Tile("gemm_mma", 128, 128, 64, 32, stages=3),
    Tile("gemm_mma", 64, 64, 32, 32, stages=4),
    *(_wgmma(rows, 128, 256, stages=4, buffers=2) for rows in (256, 128)),
    *(_wgmma(rows, 128, 192, stages=4, buffers=3) for rows in (256, 128)),
    _wgmma(128, 128, 160, stages=4, buffers=3),
    *(_wgmma(rows, 128, 128, stages=5, buffers=4, ping_pong=True) for rows in (256, 128)),
    *(_wgmma(rows, 64, 256, stages=4, buffers=4, ping_pong=True) for rows in (128, 64)),
    _wgmma(128, 128, 96, stages=5, buffers=4, ping_pong=True),
    *(_wgmma(rows, 128, 64, stages=6, buffers=4, ping_pong=True) for rows in (256, 128)),
)
