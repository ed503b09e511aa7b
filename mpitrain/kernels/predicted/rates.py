"""Rates of a GPU by which times of kernels are predicted."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """Rates of a GPU; those of a multiprocessor are per clock.

    Attributes
    ----------
    clock_hz, highest_hz : float
        Under load; and that of its peak rate.
    multiply_adds : dict
        By the unit: fp32, mma (mma.sync on bf16), wgmma.
    issue : float
        Instructions of warps.
    wavefronts : float
        Of 128 bytes, from shared memory and L1.
    l2_bytes : float
        From and to the L2 cache while all multiprocessors ask.
    l2_held : float
        Bytes that the L2 cache holds until they are read again, while others pass through it.
    hbm_bytes : float
        Per second, of the whole GPU.
    cached, latency, start : float
        Clocks of a load from L1; from the request of a tile to the end of the barrier behind it; from the end of a
        block to the first product of the next.
    """

    name: str
    processors: int
    clock_hz: float
    highest_hz: float
    multiply_adds: dict[str, float]
    issue: float = 4
    wavefronts: float = 1
    l2_bytes: float = 32
    l2_held: float = 25e6
    hbm_bytes: float = 2.8e12
    cached: float = 40
    latency: float = 600
    start: float = 1500


H100 = Gpu("H100 SXM", 132, 1.7e9, 1.83e9, {"fp32": 128, "mma": 0.62 * 2048, "wgmma": 2048})
"""Whitepaper (2022), and two rates that published kernels suggest: mma.sync at 62 % of wgmma's, and 32 bytes a clock
from L2, since tiles of 128 x 256 without multicast were limited to 610 to 700 TFLOP/s (Shankhdhar 2024), which take 30
to 36. Half of the 50 MB of L2 is taken for what is read again.
The clock is that of large products in bf16, below the highest one, 1.83 GHz, to which peaks refer."""

A100 = Gpu("A100 SXM, 80 GB", 108, 1.41e9, 1.41e9, {"fp32": 64, "mma": 1024}, hbm_bytes=1.7e12)
"""Whitepaper (2020); of its 2.04 TB/s a copy is taken to reach as large a part as on an H100."""
