"""The rungs of the ladder: their launches, and one run of a product."""

import numpy as np

from tests.kernels import cpu

# Name: the order of the grid's axes, and the block.
RUNGS = {
    "gemm_01_naive": ("mn", (32, 32, 1)),
    "gemm_02_coalesced": ("nm", (32, 32, 1)),
    "gemm_03_shared": ("nm", (32, 32, 1)),
    "gemm_04_1d_tile": ("nm", (512, 1, 1)),
    "gemm_05_2d_tile": ("nm", (256, 1, 1)),
    "gemm_06_vectorised": ("nm", (256, 1, 1)),
    "gemm_07_warp_tile": ("nm", (256, 1, 1)),
}
ARCH: dict[str, str] = {}  # the oldest GPU of a rung that does not run on all


def run(kernels: cpu.Kernels, name: str, m: int, n: int, k: int, seed: int) -> float:
    """Run one product of random matrices; return its error relative to the sum of absolute products."""
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((m, k), (k, n)))
    out = np.full((m, n), np.nan, np.float32)
    axes, block = RUNGS[name]
    tiles = {"m": -(-m // kernels.macro("TILE_M")), "n": -(-n // kernels.macro("TILE_N"))}
    arguments = [a, b, out, *(np.array(size, np.int32) for size in (m, n, k))]
    kernels.launch(name, grid=(tiles[axes[0]], tiles[axes[1]], 1), block=block, arguments=arguments, seed=seed)
    a, b = np.float64(a), np.float64(b)
    return float(np.max(np.abs(out - a @ b) / (np.abs(a) @ np.abs(b) + 1e-30)))
