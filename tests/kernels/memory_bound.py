"""Kernels that memory bounds: what they move and execute for each element, by their machine code.

    python -m tests.kernels.memory_bound        # the table of docs/benchmarks/gpu-predicted.md

A kernel reaches the bandwidth of a copy if its instructions take less time than its bytes, and if enough bytes are
under way (Little's law). Rates of an H100: 132 SMs at 1.7 GHz, 4 instructions a clock; 2.8 TB/s; 0.6 us a load.
"""

import math
import re
from collections import Counter
from typing import NamedTuple

from mpitrain.kernels.gpu_rates import H100
from tests.kernels.machine_code import build, count_of

ISSUE = H100.processors * H100.issue * 32 * H100.clock_hz  # instructions of a thread in a second
BYTES = H100.hbm_bytes
LATENCY = 0.6e-6
IN_FLIGHT = BYTES * LATENCY / H100.processors  # bytes of a multiprocessor that hide the latency
REGISTERS, MOST_THREADS = 65536, 2048


class Case(NamedTuple):
    """A kernel and its parts, of which each is a loop or all of it.

    ``parts`` are (loads of 16 bytes, stores of 16 bytes, elements) of one turn; "shared" stands for loads from shared
    memory. With ``whole`` all of the kernel is one turn. ``moved`` and ``least`` are bytes for each element: those that
    it moves, and the inputs and outputs. ``most`` instructions are about a tenth above those of today; ``loads`` of 16
    bytes are under way in a thread, and ``blocks`` fit a multiprocessor for other reasons than registers.
    """

    file: str
    name: str
    macros: dict[str, int]
    parts: tuple[tuple[int | str, int, int], ...]
    moved: float
    least: float
    most: float
    threads: int = 256
    note: str = ""
    whole: bool = False
    loads: int = 0
    blocks: int = 32


BF16 = {"ELEMENT_BF16": 1}
NORM = BF16 | {"ROW_WARPS": 3}  # of 768 columns
CASES = [
    Case("softmax_cross_entropy", "softmax_cross_entropy", BF16 | {"ROW_WARPS": 16}, ((2, 0, 16), ("shared", 2, 16)), 4,
         4, 20, 512, "rows of 50257, kept in shared memory", blocks=2),
    Case("softmax_cross_entropy", "softmax_cross_entropy", {"ROW_WARPS": 16}, ((4, 0, 16), ("shared", 4, 16)), 8, 8,
         16.5, 512, "the same in fp32", blocks=1),
    Case("layernorm", "layernorm_forward", NORM, ((6, 2, 8),), 8, 8, 46, 96, "s = x + residual, y", True, loads=2),
    Case("layernorm", "layernorm_backward", NORM, ((5, 1, 8),), 8, 8, 41, 96, "dx + residual, dw, db", loads=3),
    Case("rmsnorm", "rmsnorm_forward", NORM, ((4, 2, 8),), 8, 8, 38, 96, "s = x + residual, y", True, loads=2),
    Case("rmsnorm", "rmsnorm_backward", NORM, ((5, 1, 8),), 8, 8, 33, 96, "dx + residual, dw", loads=3),
    Case("batchnorm_moments", "batchnorm_moments", BF16, ((4, 0, 32),), 2, 2, 7.6),
    Case("batchnorm", "batchnorm_apply", BF16, ((2, 2, 16),), 4, 4, 10.2, note="with ReLU"),
    Case("batchnorm", "batchnorm_sums", BF16, ((4, 0, 16),), 4, 4, 6.8),
    Case("batchnorm", "batchnorm_dx", BF16, ((4, 2, 16),), 6, 6, 18.7, note="ReLU from x"),
    Case("batchnorm", "batchnorm_apply_residual", BF16, ((4, 2, 16),), 6, 6, 14, note="with ReLU"),
    Case("batchnorm", "batchnorm_sums_residual", BF16, ((6, 2, 16),), 8, 8, 18.8, note="dy masked for the shortcut"),
    Case("reduce", "mask_and_sum", BF16, ((4, 2, 16),), 6, 6, 13.9),
    Case("reduce", "column_sum", BF16, ((4, 0, 32),), 2, 2, 3.8),
    Case("reduce", "column_sum", {}, ((4, 0, 16),), 4, 4, 2.4, note="fp32"),
    Case("elementwise", "add", BF16, ((2, 1, 8),), 6, 6, 11.5),
    Case("elementwise", "add_relu", BF16, ((2, 1, 8),), 6, 6, 11.5),
    Case("gelu", "gelu_tanh_dx", BF16, ((2, 1, 8),), 6, 6, 44),
    Case("dropout", "dropout_mask", BF16, ((0, 2, 16),), 2, 2, 24),
    Case("dropout", "dropout_mask", {}, ((0, 4, 16),), 4, 4, 24, note="fp32"),
]  # fmt: skip


class Figures(NamedTuple):
    """Instructions for each element, their time as a part of that of the bytes, and bytes under way on an SM."""

    instructions: float
    issue: float
    in_flight: float


def figures(case: Case, arch: str, compiler: str = "nvcc") -> Figures:
    """Return what the machine code of a kernel says."""
    built = build(f"{case.file}.cu", arch, case.macros, compiler)
    code = built.kernels[case.name]
    executed, most_loads = 0.0, 0
    for loads, stores, elements in case.parts:
        kind = "LDS.128" if loads == "shared" else "LDG.E.128"
        wanted = stores if loads == "shared" else int(loads)
        ways = (
            [code.through(("LDG.E.128", "STG.E.128"))]
            if case.whole
            else code.turns(LDG_E_128=None, STG_E_128=None, LDS_128=None)
        )
        found = [way for way in ways if count_of(way, kind) == wanted and count_of(way, "STG.E.128") == stores]
        if kind == "LDG.E.128" and not stores:  # nor are copies to shared memory of interest where there is a choice
            found = [way for way in found if count_of(way, "STS.128")] or found
        assert found, (case, [dict(way) for way in ways])
        executed += min(map(Counter.total, found)) / elements
        most_loads = max(most_loads, wanted if kind == "LDG.E.128" else 0)
    registers = int(re.search(rf"entry function '{case.name}'.*?Used (\d+) registers", built.said, re.S)[1])
    warps = case.threads // 32
    blocks = min(REGISTERS // (math.ceil(registers / 8) * 8 * 32 * warps), MOST_THREADS // case.threads, case.blocks)
    under_way = blocks * case.threads * 16 * (case.loads or most_loads)
    return Figures(executed, executed / ISSUE / (case.moved / BYTES), under_way)


def table(arch: str = "90a") -> str:
    """Return the table of all cases in Markdown."""
    lines = [
        "| kernel | bytes moved | least | instructions | their time / that of the bytes | KB under way on an SM |",
        "|---|---|---|---|---|---|",
    ]
    for case in CASES:
        found = figures(case, arch)
        cells = (
            f"`{case.name}`" + (f": {case.note}" if case.note else ""),
            f"{case.moved:g}",
            f"{case.least:g}",
            f"{found.instructions:.1f}",
            f"{found.issue:.2f}",
            f"{found.in_flight / 1024:.0f}" if found.in_flight else "stores only",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
