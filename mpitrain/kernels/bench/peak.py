"""Peak rates of a GPU, from its architecture, its multiprocessors and their clock.

Multiply-adds of one multiprocessor in one cycle, dense (NVIDIA's architecture whitepapers: Turing 2018, Ampere GA100
2020 and GA102 2021, Ada 2022, Hopper 2022). An H100 SXM of 132 multiprocessors at 1.83 GHz: 989 TFLOP/s in bf16.
"""

from ..kernel import arch_number

MULTIPLY_ADDS = {
    75: {"fp32": 64},
    80: {"fp32": 64, "tf32": 512, "bf16": 1024},
    86: {"fp32": 128, "tf32": 128, "bf16": 256},
    89: {"fp32": 128, "tf32": 256, "bf16": 512},
    90: {"fp32": 128, "tf32": 1024, "bf16": 2048},
}


def multiply_adds(arch: str, inputs: str) -> int:
    """Return the multiply-adds of one multiprocessor in one cycle; 0 if unknown."""
    return MULTIPLY_ADDS.get(arch_number(arch), {}).get(inputs, 0)


def peak_flops(arch: str, num_processors: int, clock_hz: float, inputs: str) -> float:
    """Return operations per second at ``clock_hz``; 0 for an unknown architecture.

    >>> round(peak_flops("sm_90a", 132, 1.83e9, "bf16") / 1e12)
    989
    """
    return 2.0 * multiply_adds(arch, inputs) * num_processors * clock_hz
