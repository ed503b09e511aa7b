"""The rungs of the ladder: their types, tiles and launches.

out = a b; a (M, K), b (K, N), out (M, N) fp32, rows one after another.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .gemm import BOX
from .kernel import Kernel, kernel, text_of
from .launch import launch
from .matrices import Matrices
from .plan import Launch, Three, ceil_div

OUT_BOX = 32, 16
"""Columns and rows of out, fp32, that a warp stores at a time."""


@dataclass(frozen=True)
class Rung:
    """One version of the product. Its file is read once: it is timed, so its launches must only queue.

    Attributes
    ----------
    name : str
        The name of the file and of the kernel in it.
    axes : str
        "mn" where the grid's first axis goes down the rows, "nm" where it goes along them.
    block : (x, y, z)
    inputs : str
        fp32 or bf16.
    barriers : int
        Barriers of each stage of a ring that the copy engine fills; 0 for a rung that takes arrays, not tensor maps.
    stays : bool
        Whether blocks stay for many tiles: as many run as there are multiprocessors.
    stores : bool
        Whether the copy engine writes out, by a tensor map in the place of its address.
    """

    name: str
    axes: str
    block: Three
    inputs: str = "fp32"
    barriers: int = 0
    stays: bool = False
    stores: bool = False

    @cached_property
    def kernel(self) -> Kernel:
        """The kernel to build."""
        return kernel(f"{self.name}.cu")

    @cached_property
    def tile(self) -> tuple[int, int]:
        """Rows and columns of out that a block computes."""
        return self._macro("TILE_M"), self._macro("TILE_N")

    @property
    def boxes(self) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """The boxes (columns, rows) of a and b that the copy engine fetches; None without it."""
        return ((BOX, self.tile[0]), (BOX, BOX)) if self.barriers else None

    @cached_property
    def shared_bytes(self) -> int:
        """Dynamic shared memory: tiles and barriers, and room to align them."""
        if not self.barriers:
            return 0
        ring = self._macro("STAGES", 1) * (sum(self.tile) * 2 * BOX + 8 * self.barriers)
        return ring + self._macro("STAGING_BYTES") + 8 * self._macro("TURNS") + 1024

    @property
    def title(self) -> str:
        """Its number and its idea, as the file's first line has them."""
        first = text_of(f"{self.name}.cu").partition("\n")[0]
        return first.removeprefix("// Ladder ").partition(":")[0]

    @property
    def number(self) -> int:
        """Its place in the ladder."""
        return int(self.name.split("_")[1])

    @property
    def depth(self) -> int:
        """Elements of k in a step."""
        return self._macro("TILE_K", 1)

    @property
    def overlaps(self) -> bool:
        """True if tiles are fetched while others are multiplied."""
        return self._macro("STAGES", 1) > 1

    @cached_property
    def cluster(self) -> int:
        """Blocks of a cluster."""
        return self._macro("CLUSTER", 1)

    def plan(self, m: int, n: int, num_processors: int) -> Launch:
        """Return the launch for out (m, n) on a GPU of so many multiprocessors."""
        tiles = {"m": ceil_div(m, self.tile[0]), "n": ceil_div(n, self.tile[1])}
        if self.stays:
            work = ceil_div(tiles["m"], self.cluster) * tiles["n"]
            clusters = max(1, min(work, num_processors // self.cluster))
            return Launch((clusters * self.cluster, 1, 1), self.block, self.shared_bytes, self.cluster)
        return Launch((tiles[self.axes[0]], tiles[self.axes[1]], 1), self.block, self.shared_bytes)

    def run(self, device: Any, a: Matrices, b: Matrices, out: Matrices) -> None:
        """Launch it on ``device``."""
        factors: list[np.ndarray] = [np.array(x.address, np.uint64) for x in (a, b)]
        if self.boxes is not None:
            factors = [x.tensor_map(device, box) for x, box in zip((a, b), self.boxes, strict=True)]
        sizes = [np.array(size, np.int32) for size in (out.rows, out.cols, a.cols)]
        result = out.tensor_map(device, OUT_BOX, 4) if self.stores else np.array(out.address, np.uint64)
        arguments = [*factors, result, *sizes]
        launch(device, self.kernel, self.plan(out.rows, out.cols, device.num_processors), arguments)

    def _macro(self, name: str, otherwise: int = 0) -> int:
        found = re.search(rf"^#define {name} (\d+)$", text_of(f"{self.name}.cu"), re.M)
        return int(found[1]) if found else otherwise


RUNGS = (
    Rung("gemm_01_naive", "mn", (32, 32, 1)),
    Rung("gemm_02_coalesced", "nm", (32, 32, 1)),
    Rung("gemm_03_shared", "nm", (32, 32, 1)),
    Rung("gemm_04_1d_tile", "nm", (512, 1, 1)),
    Rung("gemm_05_2d_tile", "nm", (256, 1, 1)),
    Rung("gemm_06_vectorized", "nm", (256, 1, 1)),
    Rung("gemm_07_warp_tile", "nm", (256, 1, 1)),
    Rung("gemm_08_tensor_cores", "nm", (256, 1, 1), "bf16"),
    Rung("gemm_09_swizzle", "nm", (256, 1, 1), "bf16"),
    Rung("gemm_10_wgmma", "nm", (128, 1, 1), "bf16", barriers=1),
    Rung("gemm_11_ring", "nm", (128, 1, 1), "bf16", barriers=1),
    Rung("gemm_12_wide", "nm", (256, 1, 1), "bf16", barriers=1),
    Rung("gemm_13_producer", "nm", (384, 1, 1), "bf16", barriers=2),
    Rung("gemm_14_overlap", "nm", (384, 1, 1), "bf16", barriers=2),
    Rung("gemm_15_persistent", "nm", (384, 1, 1), "bf16", barriers=2, stays=True),
    Rung("gemm_16_multicast", "nm", (384, 1, 1), "bf16", barriers=2, stays=True),
    Rung("gemm_17_store", "nm", (384, 1, 1), "bf16", barriers=2, stays=True, stores=True),
    Rung("gemm_18_ping_pong", "nm", (384, 1, 1), "bf16", barriers=2, stays=True, stores=True),
)
