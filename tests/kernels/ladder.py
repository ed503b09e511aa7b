"""The rungs of the ladder: their launches, and one run of a product."""

import numpy as np

from tests.kernels import cpu, gemm

# Name: the order of the grid's axes, and the block.
RUNGS = {
    "gemm_01_naive": ("mn", (32, 32, 1)),
    "gemm_02_coalesced": ("nm", (32, 32, 1)),
    "gemm_03_shared": ("nm", (32, 32, 1)),
    "gemm_04_1d_tile": ("nm", (512, 1, 1)),
    "gemm_05_2d_tile": ("nm", (256, 1, 1)),
    "gemm_06_vectorised": ("nm", (256, 1, 1)),
    "gemm_07_warp_tile": ("nm", (256, 1, 1)),
    "gemm_08_tensor_cores": ("nm", (256, 1, 1)),
    "gemm_09_wgmma": ("nm", (128, 1, 1)),
    "gemm_10_ring": ("nm", (128, 1, 1)),
    "gemm_11_producer": ("nm", (384, 1, 1)),
}
HOPPER = ("gemm_09_wgmma", "gemm_10_ring", "gemm_11_producer")  # take tensor maps, and rows of whole 16 bytes
BF16 = ("gemm_08_tensor_cores", *HOPPER)
ARCH = dict.fromkeys(HOPPER, "90a") | {"gemm_08_tensor_cores": "80"}


def run(kernels: cpu.Kernels, name: str, m: int, n: int, k: int, seed: int) -> float:
    """Run one product of random matrices; return its error relative to the sum of absolute products."""
    rng = np.random.default_rng(seed)
    if name in HOPPER:
        n, k = -(-n // 8) * 8, -(-k // 8) * 8
    dtype = np.uint16 if name in BF16 else np.float32
    a, b = (gemm.Buffer((1, *shape), 0, 0, dtype) for shape in ((m, k), (k, n)))
    values = []
    for buffer in (a, b):
        drawn = rng.standard_normal(buffer.values.shape).astype(np.float32)
        buffer.values[:] = gemm.to_bf16(drawn) if name in BF16 else drawn
        values.append(np.float64(gemm.from_bf16(buffer.values) if name in BF16 else drawn)[0])
    out = np.full((m, n), np.nan, np.float32)
    axes, block = RUNGS[name]
    tiles = {"m": -(-m // kernels.macro("TILE_M")), "n": -(-n // kernels.macro("TILE_N"))}
    if name in HOPPER:
        factors = [gemm.tensor_map(a, (64, kernels.macro("TILE_M"))), gemm.tensor_map(b, (64, 64))]
    else:
        factors = [buffer.values for buffer in (a, b)]
    kernels.launch(
        name,
        grid=(tiles[axes[0]], tiles[axes[1]], 1),
        block=block,
        shared_bytes=shared_bytes(kernels, name) if name in HOPPER else 0,
        arguments=[*factors, out, *(np.array(size, np.int32) for size in (m, n, k))],
        seed=seed,
    )
    a_values, b_values = values
    return float(np.max(np.abs(out - a_values @ b_values) / (np.abs(a_values) @ np.abs(b_values) + 1e-30)))


def shared_bytes(kernels: cpu.Kernels, name: str) -> int:
    """Return the dynamic shared memory of a rung of HOPPER: tiles and barriers, and room to align them."""
    stages = 1 if name == "gemm_09_wgmma" else kernels.macro("STAGES")
    barriers = 16 if name == "gemm_11_producer" else 8
    return stages * ((kernels.macro("TILE_M") + kernels.macro("TILE_N")) * 128 + barriers) + 1024
