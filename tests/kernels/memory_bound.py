"""Kernels that memory bounds: what they move and execute for each element, by their machine code.

    python -m tests.kernels.memory_bound        # the table of docs/benchmarks/gpu-predicted.md

A kernel reaches the bandwidth of a copy if its instructions take less time than its bytes, and if enough bytes are
under way (Little's law). Rates of an H100: 132 SMs at 1.7 GHz, 4 instructions a clock, 2 of some kinds; 2.8 TB/s;
0.6 us a load. Those of an A100, 108 SMs at 1.41 GHz and 1.7 TB/s, are for the machine code of sm_80.
"""

import math
import re
from collections import Counter
from typing import NamedTuple

from mpitrain.kernels.predicted.rates import A100, H100
from tests.kernels.machine_code import MachineCode, build, count_of
from tests.kernels.memory_bound_cases import CASES, Case

GPUS = {"90a": H100, "80": A100}
LATENCY = 0.6e-6
IN_FLIGHT = H100.hbm_bytes * LATENCY / H100.processors  # bytes of a multiprocessor that hide the latency
REGISTERS, MOST_THREADS = 65536, 2048
KINDS = "LDG.E.128", "LD.E.128", "STG.E.128", "ST.E.128", "LDS.128", "MUFU"
ALU = "FSETP", "FSEL", "SEL", "FMNMX", "LOP3", "PRMT", "SHF", "IADD3", "ISETP", "LEA", "VIADD", "PLOP3", "P2R", "F2FP"
FMA = "FADD", "FMUL", "FFMA", "IMAD"
HALF = {"90a": (ALU,), "80": (ALU, FMA)}
"""Kinds of which a multiprocessor executes 2 instructions a clock, not 4: there are 64 lanes for each (CUDA C++
Programming Guide, "Arithmetic Instructions"). Compilers take multiply-adds (IMAD) where these are idle."""


class Figures(NamedTuple):
    """Instructions for each element, their time as a part of that of the bytes, and bytes under way on an SM."""

    instructions: float
    issue: float
    in_flight: float


def figures(case: Case, arch: str, compiler: str = "nvcc") -> Figures:
    """Return what the machine code of a kernel says."""
    built = build(f"{case.file}.cu", arch, case.macros, compiler)
    code = built.kernels[case.name]
    turns = [_turn(code, case, loads, stores) for loads, stores, _ in case.parts]
    executed = sum(turn.total() / part[2] for turn, part in zip(turns, case.parts))
    halved = [sum(count_of(turn, kind) / part[2] for turn, part in zip(turns, case.parts)) for kind in HALF[arch]]
    gpu = GPUS[arch]
    issue = max(executed, *(2 * each for each in halved)) / (gpu.processors * gpu.issue * 32 * gpu.clock_hz)
    registers = int(re.search(rf"entry function '{case.name}'.*?Used (\d+) registers", built.said, re.S)[1])
    warps = case.threads // 32
    blocks = min(REGISTERS // (math.ceil(registers / 8) * 8 * 32 * warps), MOST_THREADS // case.threads, case.blocks)
    most_loads = max(loads for loads, _, _ in case.parts if loads != "shared")
    under_way = blocks * case.threads * case.width * (case.loads or most_loads)
    return Figures(executed, issue / (case.moved / gpu.hbm_bytes), under_way)


def _turn(code: MachineCode, case: Case, loads: int | str, stores: int) -> Counter:
    """Return the shortest turn with so many accesses of 16 bytes."""
    kinds = ("LDS.128",) if loads == "shared" else tuple(f"{name}.E.{8 * case.width}" for name in ("LDG", "LD"))
    wanted = stores if loads == "shared" else loads
    if case.whole:
        ways = [code.through(("LDG.E.128", "STG.E.128"))]
    else:
        ways = code.turns(**{name.replace(".", "_"): None for name in (*KINDS, *kinds, *case.more)})
    found = [w for w in ways if count_of(w, kinds) == wanted and count_of(w, ("STG.E.128", "ST.E.128")) == stores]
    if loads != "shared" and not stores:  # nor are copies to shared memory of interest where there is a choice
        found = [way for way in found if count_of(way, "STS.128")] or found
    assert found, (case, [dict(way) for way in ways])
    return min(found, key=Counter.total)


def table() -> str:
    """Return the table of all cases in Markdown."""
    lines = [
        "| kernel | bytes moved | least | instructions | their time / that of the bytes | the same, sm_80 on an A100 "
        "| KB under way on an SM |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        found, older = (figures(case, arch) for arch in GPUS)
        cells = (
            f"`{case.name}`" + (f": {case.note}" if case.note else ""),
            f"{case.moved:g}",
            f"{case.least:g}",
            f"{found.instructions:.1f}",
            f"{found.issue:.2f}",
            f"{older.issue:.2f}",
            f"{found.in_flight / 1024:.0f}" if found.in_flight else "stores only",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
