"""Stream-K broken on purpose: in gemm_wgmma, which shares K out, and in gemm_sum_stream, which adds the pieces."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from tests.kernels import cpu
from tests.kernels.products import gemm
from tests.kernels.products.cases import EPILOGUES, Case, Variant
from tests.kernels.products.test_gemm_wgmma import TOLERANCE, tile

# the first test waits for all builds
pytestmark = [cpu.needs_gxx, pytest.mark.slow, pytest.mark.timeout(900)]

DW = Variant("gemm_wgmma", 1, 0, "none", "bf16", "fp32", cluster=2, tile=tile(128, 64, 3, 2, 0))
TURNS = Variant("gemm_wgmma", 1, 0, "none", "bf16", "fp32", tile=tile(64, 64, 3, 2, 1))
# Of DW: 7 whole tiles and 5 shared ones, of whose tails two shares cut one. Of TURNS: 19 and 5, with tails in two.
CASE = Case(512, 384, 20 * 64, workers=7, beta=1.0, bias=False, seed=1, in_place=True)
PRODUCT = {
    "another part of K": (TURNS, "depth(plane * stream.depth, (plane + 1)", "depth(0 * stream.depth, (plane + 1)"),
    "a part that is one step short": (DW, "(plane + 1) * stream.depth, k)", "(plane + 1) * stream.depth - 1, k)"),
    "the stream where parts are": (DW, "before = stream.parts * stream.depth -", "before = 0 -"),
    "tails that all begin with the stream": (DW, "- slot * stream.tail;", "+ 0;"),
    "a tail that begins with its share": (DW, "return max(share_of(stream) * stream.share, (stop",
                                          "return max(0, (stop"),
    "the last piece of a share alone": (DW, "first(stream) > share_of(stream) * stream.share", "false"),
    "a last share that is as long as others": (TURNS, "* stream.share, stream.shared * stream.tail);",
                                               "* stream.share, 1 << 30);"),
    "a stop of the share before": (DW, "    number += gridDim.x / BLOCKS;\n    enter(stream);",
                                   "    number += gridDim.x / BLOCKS;"),
    "pieces of a tail in one plane": (DW, " + share - stream.first_share(slot), slot", ", slot"),
    "planes counted from the first share": (DW, " + share - stream.first_share(slot), slot", " + share, slot"),
    "kept as a tile that is not shared": (DW, "return {stream.whole + slot, plane, slot,",
                                          "return {stream.whole + slot, plane, stream.whole + slot,"),
    "a part finished as if it were whole": (DW, "whole = task.piece.plane < 0", "whole = task.piece.plane <= 0"),
    "the strip of the other block": (DW, "(CLUSTER > 1 ? rank_in_cluster() * TILE_M : 0) + first", "first"),
    "the strip of the other consumer": (DW, "rank_in_cluster() * TILE_M : 0) + first)",
                                        "rank_in_cluster() * TILE_M : 0))"),
    "all warps in one strip": (DW, "/ STRIP_ROWS + warp;", "/ STRIP_ROWS;"),
    "groups of sums swapped": (DW, "to + group * FRAGMENT) =", "to + (group ^ 1) * FRAGMENT) ="),
    "stages of another piece": (TURNS, "const int steps = num_steps(task.piece.depth);",
                                "const int steps = num_steps({0, stream.depth * StreamK::STEP});"),
}  # fmt: skip
SUM = {
    "the last plane left out": ("plane < planes", "plane < planes - 1"),
    "planes of another tile": ("planes = stream.planes(slot)", "planes = stream.planes(0)"),
    "as many planes as parts": ("planes = stream.planes(slot)", "planes = stream.parts + 1"),
    "tiles counted from the first": ("tile = stream.whole + slot", "tile = slot"),
    "planes too close": ("apart = (long long)stream.shared", "apart = (long long)1"),
    "rows of a lane swapped": (
        "sums[g][2 * half], sums[g][2 * half + 1]",
        "sums[g][2 - 2 * half], sums[g][3 - 2 * half]",
    ),
    "columns of the next lane": ("lane % 4 * 2", "(lane + 1) % 4 * 2"),
    "the strip beside": ("slot, strip, first)", "slot, strip ^ 1, first)"),
    "a group less": ("first = number % across * GROUPS", "first = number % across"),
}


def broken(mistake):
    variant, right, wrong = PRODUCT[mistake]
    return variant, lambda text: text.replace(right, wrong)


def in_sum(mistake):
    return lambda text: text.replace(*SUM[mistake])


@pytest.fixture(scope="module", autouse=True)
def built_two_at_a_time():
    edits = [broken(mistake) for mistake in PRODUCT]
    jobs = [functools.partial(cpu.build, "gemm_wgmma.cu", edit, **v.macros) for v, edit in edits]
    macros = {"EPILOGUE": EPILOGUES.index("none"), "OUTPUT_BF16": 0}
    jobs += [functools.partial(cpu.build, "gemm_sum_stream.cu", in_sum(mistake), **macros) for mistake in SUM]
    cpu.build_ahead(jobs)


def case_of(variant):
    return CASE if variant is DW else replace(CASE, m=256, workers=19)


@pytest.mark.parametrize("variant", [DW, TURNS], ids=str)
def test_what_is_broken_was_right(variant):
    kernels, case = cpu.build("gemm_wgmma.cu", **variant.macros), case_of(variant)
    stream = gemm.shared_out(kernels, variant, case)
    assert stream.whole
    assert stream.most_pieces > 1
    assert [*map(stream.planes_of, range(5))] == ([2, 2, 3, 2, 2] if variant is DW else [4] * 5)
    assert gemm.run(kernels, variant, case) < TOLERANCE["fp32"]


@pytest.mark.parametrize("mistake", PRODUCT)
def test_mistakes_of_the_product_are_found(mistake):
    variant, edit = broken(mistake)
    try:
        error = gemm.run(cpu.build("gemm_wgmma.cu", edit, **variant.macros), variant, case_of(variant))
    except (cpu.Launch, AssertionError):  # refused by the shim, or written outside
        return
    assert not error < TOLERANCE["fp32"]


@pytest.mark.parametrize("mistake", SUM)
def test_mistakes_of_the_sum_are_found(mistake):
    kernels = cpu.build("gemm_wgmma.cu", **DW.macros)
    product = gemm.run_persistent(kernels, DW, CASE, edit_sum=in_sum(mistake))
    try:
        error = product.error()
    except AssertionError:
        return
    assert not error < TOLERANCE["fp32"]


def test_another_order_of_addition_has_other_bits():
    """The comparison with float64 forgives it, the one with NumPy's order does not (test_stream_k.py)."""

    def backwards(text):
        return text.replace("apart = (long long)", "apart = -(long long)").replace(
            "partial_at(stream, 0, slot", "partial_at(stream, planes - 1, slot"
        )

    kernels = cpu.build("gemm_wgmma.cu", **DW.macros)
    right, other = gemm.run_persistent(kernels, DW, CASE), gemm.run_persistent(kernels, DW, CASE, edit_sum=backwards)
    assert other.error() < TOLERANCE["fp32"]
    assert not np.array_equal(right.out.values, other.out.values)
