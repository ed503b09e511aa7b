"""The machine code of Hopper's convolutions: a stage is four products and its copies, and nothing waits in the loop."""

import re
from dataclasses import replace

import pytest

from mpitrain.kernels.convolution_wgmma import built_for
from mpitrain.kernels.predicted.convolution_wgmma import MOMENT_INSTRUCTIONS
from tests.kernels import tools
from tests.kernels.compiled import FENCES, GROWTH, check_resources, per_thread
from tests.kernels.convolutions.cases import of
from tests.kernels.convolutions.hopper import wide
from tests.kernels.machine_code import Built, build, check_registers_are_shared_out

pytestmark = pytest.mark.skipif(tools.NVCC is None, reason="there is no nvcc here to compile the kernels for a GPU")

FORWARD = of("forward", 1, (8, 8), 64, 64, (3, 3), padding=(1, 1), inputs="bf16", outputs="bf16")
DX, DW = replace(FORWARD, kind="dx"), replace(FORWARD, kind="dw", outputs="fp32")
BOTH = "nvcc", "NVRTC"

# Convolution, tile, scattered, moments; all instructions, and those that the producer executes for a stage (0: its wait
# is behind the loop, and nobody can tell).
CASES = [
    (FORWARD, wide(64, 2), False, True, 2432, 74, BOTH),
    (replace(FORWARD, epilogue="relu"), wide(128, 2), False, False, 3624, 76, ("nvcc",)),
    (FORWARD, wide(256), False, False, 5744, 81, ("nvcc",)),
    (DX, wide(128), False, False, 3200, 52, ("nvcc",)),
    (DX, wide(192, 2), True, False, 4592, 74, BOTH),
    (DW, wide(64), False, False, 1880, 0, BOTH),
    (DW, wide(256, 2), False, False, 5656, 0, ("nvcc",)),
]
EACH = pytest.mark.parametrize(
    ("case", "compiler"), [(case[:-1], compiler) for case in CASES for compiler in case[-1]], ids=str
)


def built(case, compiler: str) -> Built:
    conv, tile, scattered, moments, *_ = case
    what = built_for(tile, conv, scattered, moments)
    return build(what.file, "90a", dict(what.macros), compiler)


@EACH
def test_resources_and_size(case, compiler):
    made = built(case, compiler)
    check_resources(made.said)
    assert not made.code.count("LDL", "STL"), "local memory"
    assert made.registers == 168, "what 384 threads share evenly"
    check_registers_are_shared_out(made.code, 40, 232)
    assert len(made.code.instructions) <= GROWTH * case[4]


@EACH
def test_a_stage_is_four_products_and_its_copies(case, compiler):
    (conv, tile, *_), code = case, built(case, compiler).code
    assert code.counts[f"HGMMA.64x{tile.n}x16.F32.BF16"] == 4
    gathered = 2 if conv.kind == "dw" else 1
    assert code.counts["UTMALDG.4D.IM2COL"] == gathered
    other = "UTMALDG.3D.MULTICAST" if tile.cluster > 1 else "UTMALDG.3D"
    assert code.counts[other] == (1 if conv.kind == "dx" else tile.n // 64)
    assert code.count("UTMALDG") == gathered + code.counts[other]


@pytest.mark.parametrize("columns", [64, 256])
def test_moments_add_what_the_model_says(columns):
    """Instructions of a thread, all that are not there without moments, as in docs/benchmarks/gpu-predicted.md."""
    with_moments, alone = (built((FORWARD, wide(columns), False, moments), "nvcc").code for moments in (True, False))
    all_of, none = (code.counts.total() - code.counts["NOP"] for code in (with_moments, alone))
    fixed, each = MOMENT_INSTRUCTIONS
    assert all_of - none <= 1.1 * (fixed + each * columns)
    assert with_moments.count("SHFL") - alone.count("SHFL") <= 3 + 14 * columns // 64 + 3


@EACH
def test_nothing_waits_in_the_loop(case, compiler):
    code = built(case, compiler).code
    meetings = 2 if case[1].cluster > 1 else 0
    assert [code.counts[name] for name in ("UCGABAR_WAIT", *FENCES)] == [meetings] * 3
    assert per_thread(code.turn("HGMMA", "HGMMA")) <= 20, "descriptors are computed by the uniform unit"


@pytest.mark.parametrize(
    ("case", "compiler"), [(case[:-1], compiler) for case in CASES for compiler in case[-1] if case[5]], ids=str
)
def test_the_producer_computes_little(case, compiler):
    """Its instructions for a stage, which one thread issues while consumers multiply for hundreds of cycles."""
    turn = built(case, compiler).code.turn("SYNCS.ARRIVE", "UTMALDG", without="HGMMA")
    assert not [name for name in turn if re.match(r"(MUFU|I2F|F2I)", name)], "a division"
    assert sum(turn.values()) <= GROWTH * case[5], turn
