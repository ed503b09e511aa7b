"""The times that the rungs of the ladder should take, and what limits them: a prediction, not a measurement.

    step = max(busy, (busy + latency) / blocks),   busy = max over units of use / rate
    tile = steps step + (start + writing) / blocks
    time = max(rounds blocks tile / clock, bytes of the matrices / bandwidth)

A step is one tile of k of one block; the units are those that multiply, that issue, that move 128 bytes from shared
memory or L1, and the way to the L2 cache. Where a ring overlaps fetching with products, latency is 0; where blocks
stay, so is start; where the copy engine writes, writing is part of ``busy``: another use of the way to the L2 cache.
"""

from math import ceil
from typing import NamedTuple

from ..ladder import Rung
from .rates import H100, Gpu


class Code(NamedTuple):
    """A rung's code for sm_90a (tests/kernels/products/test_compile_ladder.py compares it).

    Attributes
    ----------
    registers : int
        Of a thread.
    instructions : int
        That a warp issues in a step.
    wavefronts : int
        That these move from and to shared memory and L1.
    """

    registers: int
    instructions: int
    wavefronts: int


CODE = {
    1: Code(32, 18, 32 + 1),  # lanes down a column of a: a line each; all of them the same element of b
    2: Code(32, 18, 1 + 1),
    3: Code(31, 100, 32 + 8 + 4),  # a by four neighbors for all lanes, b by lane; tiles come by 2 loads and 2 stores
    4: Code(49, 118, 8 + 16 + 4),
    5: Code(
        127, 642, 16 * 2 + 16 * 8 + 16
    ),  # two rows of a in one bank; lanes 32 bytes apart in b: two passes a quarter
    6: Code(127, 590, 16 + 16 * 8 + 20),
    7: Code(119, 588, 32 + 20),  # lanes side by side
    8: Code(124, 160, 12 * 4 + 8 * 4),
    9: Code(122, 172, 12 * 4 + 8 * 4),
}
METRICS = {
    "arithmetic": "sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_active",
    "tensor cores": "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active",
    "issue": "smsp__issue_active.avg.pct_of_peak_sustained_active",
    "shared memory and L1": "l1tex__data_pipe_lsu_wavefronts.avg.pct_of_peak_sustained_elapsed",
    "L2 cache": "lts__t_sectors.avg.pct_of_peak_sustained_elapsed",
    "latency": "smsp__average_warp_latency_issue_stalled_long_scoreboard.ratio",
    "memory": "dram__bytes.avg.pct_of_peak_sustained_elapsed",
}
"""Nsight Compute's names of the counters that show how busy a unit is."""


class Prediction(NamedTuple):
    """Time of a product.

    Attributes
    ----------
    seconds : float
    limit : str
        The busiest unit (METRICS).
    """

    seconds: float
    limit: str


def predict(rung: Rung, m: int, n: int, k: int, gpu: Gpu = H100) -> Prediction:
    """Return the time of out (m, n) = a (m, k) b (k, n) by ``rung``."""
    (tile_m, tile_n), blocks = rung.tile, _blocks(rung)
    busy, written = _step(rung, gpu), 4 * tile_m * tile_n / gpu.l2_bytes
    steps = max(1, ceil(k / rung.depth))
    if rung.stores:
        busy["L2 cache"] += written / steps
        written = 0
    limit = max(busy, key=busy.__getitem__)
    step = busy[limit]
    latency = 0 if rung.overlaps else gpu.latency if rung.depth > 1 else gpu.cached
    waits = (step + latency) / blocks
    if waits > step:
        step, limit = waits, "latency"
    tile = steps * step + ((0 if rung.stays else gpu.start) + written) / blocks
    pieces = ceil(m / (tile_m * rung.cluster)) * ceil(n / tile_n)
    rounds = ceil(pieces / (gpu.processors // rung.cluster * blocks)) * blocks
    seconds, transfer = rounds * tile / gpu.clock_hz, (_bytes(rung) * (m * k + k * n) + 4 * m * n) / gpu.hbm_bytes
    return Prediction(seconds, limit) if seconds > transfer else Prediction(transfer, "memory")


def of_peak(rung: Rung, m: int, n: int, k: int, gpu: Gpu = H100) -> float:
    """Return the share of the peak rate of the rung's type, at the highest clock."""
    peak = 2 * gpu.multiply_adds["fp32" if rung.inputs == "fp32" else "wgmma"] * gpu.processors * gpu.highest_hz
    return 2.0 * m * n * k / predict(rung, m, n, k, gpu).seconds / peak


def _step(rung: Rung, gpu: Gpu) -> dict[str, float]:
    """Return the clocks for which a step of one block occupies each unit."""
    (tile_m, tile_n), depth = rung.tile, rung.depth
    fetched = _bytes(rung) * depth * (tile_m + tile_n / rung.cluster)
    unit = "fp32" if rung.inputs == "fp32" else "wgmma" if rung.barriers else "mma"
    products = tile_m * tile_n * depth / gpu.multiply_adds[unit]
    busy = {"arithmetic" if unit == "fp32" else "tensor cores": products, "L2 cache": fetched / gpu.l2_bytes}
    if rung.barriers:  # wgmma reads 64 rows of a and all columns of b, and a block does little else
        read = tile_m // 64 * 2 * depth * (64 + tile_n)
        busy["shared memory and L1"] = read / 128 / gpu.wavefronts
    else:
        code, warps = CODE[rung.number], rung.block[0] * rung.block[1] // 32
        busy["issue"] = code.instructions * warps / gpu.issue
        busy["shared memory and L1"] = code.wavefronts * warps / gpu.wavefronts
    return busy


def _blocks(rung: Rung) -> int:
    """Return the blocks that share a multiprocessor: 64 K registers, 2048 threads, 227 KB of shared memory."""
    threads = rung.block[0] * rung.block[1]
    registers = CODE[rung.number].registers if rung.number in CODE else 96 if rung.block[0] == 128 else 168
    by_registers = 65536 // (threads * ceil(registers / 8) * 8)
    by_memory = 227 * 1024 // rung.shared_bytes if rung.shared_bytes else by_registers
    return max(1, min(by_registers, by_memory, 2048 // threads))


def _bytes(rung: Rung) -> int:
    return 4 if rung.inputs == "fp32" else 2
