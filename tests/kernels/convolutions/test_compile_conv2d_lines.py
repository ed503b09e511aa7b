"""The machine code of convolutions line by line: products follow each other, and nothing waits between them."""

from dataclasses import replace

import pytest

from mpitrain.kernels.convolution_lines import built_for, common_kernels, depth_of, tile_of
from tests.kernels import tools
from tests.kernels.compiled import FENCES, GROWTH, check_resources
from tests.kernels.convolutions.test_conv2d_lines import lines
from tests.kernels.machine_code import build, count_of

pytestmark = pytest.mark.skipif(tools.NVCC is None, reason="there is no nvcc here to compile the kernels for a GPU")

FORWARD, DEEP = lines(1, (8, 56), 64, 64), lines(1, (8, 28), 128, 128)
BOTH = "nvcc", "NVRTC"

# Convolution, moments; instructions of a consumer's thread for three lines of out.
CASES = [
    (FORWARD, False, 947, BOTH),
    (FORWARD, True, 1760, BOTH),
    (replace(FORWARD, kind="dx"), False, 947, ("nvcc",)),
    (DEEP, True, 2169, BOTH),
    (replace(DEEP, kind="dx"), False, 1534, ("nvcc",)),
    (lines(1, (8, 32), 16, 16, epilogue="relu"), False, 500, ("NVRTC",)),
    (lines(1, (8, 7), 40, 24), True, 1370, ("nvcc",)),
    (lines(1, (8, 56), 128, 128, groups=32), True, 1760, ("NVRTC",)),
]
EACH = pytest.mark.parametrize(
    ("conv", "moments", "most", "compiler"), [(*case[:-1], by) for case in CASES for by in case[-1]], ids=str
)


def built(conv, moments, compiler):
    what = built_for(conv, moments)
    return build(what.file, "90a", dict(what.macros), compiler)


@EACH
def test_resources(conv, moments, most, compiler):
    made = built(conv, moments, compiler)
    check_resources(made.said)
    assert not made.code.count("LDL", "STL"), "local memory"
    assert made.registers == 168, "what 384 threads share evenly"


@EACH
def test_three_lines(conv, moments, most, compiler):
    """For each line and 16 channels: nine products, and three loads of their factor."""
    code, steps = built(conv, moments, compiler).code, depth_of(conv) // 16
    turn = code.turn_of_all("HGMMA", ("HGMMA", "UTMASTG"))
    assert count_of(turn, f"HGMMA.64x{tile_of(conv).n}x16.F32.BF16") == code.count("HGMMA") == 3 * 9 * steps
    assert count_of(turn, "LDSM.16.M88.4") == 3 * 3 * steps
    assert count_of(turn, "WARPGROUP.DEPBAR") == 3 * (3 * -(-depth_of(conv) // 64) + 1), (
        "one for each group, and for sums"
    )
    assert count_of(turn, "UTMASTG.4D") == count_of(turn, "FENCE.VIEW.ASYNC") == 3
    assert sum(turn.values()) <= GROWTH * most, turn
    assert not code.count(*FENCES)


@pytest.mark.slow
@pytest.mark.parametrize("what", common_kernels(), ids=str)
def test_common_layers(what):
    """Each that is built ahead, by the compiler that builds it in training."""
    check_resources(build(what.file, "90a", dict(what.macros), "NVRTC").said)
