"""Convolutions of Hopper broken on purpose: each of these mistakes compiles, and must not survive the comparison."""

import functools
from dataclasses import replace

import pytest

from mpitrain.kernels.convolution_wgmma import built_for, parts_of
from tests.kernels import cpu
from tests.kernels.apart import survives
from tests.kernels.convolutions.cases import Case
from tests.kernels.convolutions.hopper import run, wide
from tests.kernels.convolutions.test_conv2d_wgmma import bf16

pytestmark = [cpu.needs_gxx, pytest.mark.slow, pytest.mark.timeout(900)]

PLAIN, WIDE, PAIR = wide(64), wide(128), wide(128, 2)
FORWARD = Case(bf16(3, (9, 11), 72, 136, (3, 2), (2, 1), (1, 1), (1, 2)), bias=True, seed=1)
FULL = replace(FORWARD, conv=replace(FORWARD.conv, channels=64))
CUT = replace(FORWARD, part=192)
DX = replace(FORWARD, conv=replace(FORWARD.conv, kind="dx"))
DW = Case(replace(bf16(4, (9, 11), 128, 136, (3, 2), (2, 1), (1, 1), (1, 2)), kind="dw"), seed=1)

MOMENTS = Case(bf16(4, (9, 9), 64, 72, (1, 1)), moments=True, seed=1)  # 324 rows: six slabs, the last of 4
SUMS = replace(MOMENTS, moments=False, sums=True)
MEET = "named_barrier_wait<THREADS>(name);\n"

BROKEN = {
    "warps that do not wait for each other": (MOMENTS, PLAIN, f"    {MEET}    float* to", "    float* to"),
    "sums of the next tile written too early": (SUMS, PLAIN, f"    {MEET[:-1]}  // the next", "    // the next"),
    "both consumers in one memory": (MOMENTS, PLAIN, "stages.behind() + consumer * TileColumns::FLOATS",
                                     "stages.behind()"),
    "one barrier for both consumers": (MOMENTS, PLAIN, "FLOATS, 1 + consumer, gemm", "FLOATS, 1, gemm"),
    "rows behind the last in a lane": (MOMENTS, PLAIN, "(mine > 0) + (mine > 8)", "2"),
    "rows behind the last in a warp": (MOMENTS, PLAIN, "min(max(left - i * WARP_ROWS, 0), WARP_ROWS), both",
                                       "WARP_ROWS, both"),
    "squares that are not about the mean of both": (MOMENTS, PLAIN, " + apart * apart * counts.weight[STEP]", ""),
    "squares that stay in their lane": (MOMENTS, PLAIN, "own_squares + __shfl_xor_sync(~0u, its, BIT)", "own_squares"),
    "the other half of the columns": (MOMENTS, PLAIN, "given = upper ? mean[j] : mean[j + HALF]",
                                      "given = upper ? mean[j + HALF] : mean[j]"),
    "sums of the first warp": (SUMS, PLAIN, "for (int i = 1; i < WARPS; i++) sum += from[i * WIDTH];", ";"),
    "columns that two lanes have twice": (SUMS, PLAIN, "if constexpr (HALF == 0) x[0] +=", "if (false) x[0] +="),
    "rows and columns of taps swapped": (FORWARD, PLAIN, "part.cols.step, tap.row * part.rows.step",
                                         "part.rows.step, tap.row * part.cols.step"),
    "the dilation forgotten": (FORWARD, PLAIN, "tap.col * part.cols.step,", "tap.col,"),
    "the stride forgotten": (FORWARD, PLAIN, "image.remainder * rows.scale +", "image.remainder +"),
    "the padding forgotten": (FORWARD, PLAIN, "line.remainder * cols.scale + cols.first",
                              "line.remainder * cols.scale"),
    "the first image again": (FORWARD, PLAIN, "rows.first, image.quotient}", "rows.first, 0}"),
    "the first channels again": (FORWARD, PLAIN, "      window.channel = tap.channel;\n", ""),
    "w of the first tap": (FORWARD, PLAIN, "tap.channel, tap.tap(), full", "tap.channel, 0, full"),
    "taps that end late": (FORWARD, PLAIN, "if (++col < cols.taps)", "if (++col <= cols.taps)"),
    "channels that end late": (FULL, PLAIN, "if (channel < depth) return;", "if (channel <= depth) return;"),
    "each part from the first tap": (CUT, PLAIN, "tap(conv, part, depth.first)", "tap(conv, part, 0)"),
    "a box of w in the wrong place": (FORWARD, WIDE, "col + i * BOX, channel + first", "col, channel + first"),
    "a share of w twice": (FORWARD, PAIR, "col + i * BOX, channel + first", "col + i * BOX, channel"),
    "a share of w of dx twice": (DX, PAIR, "copy(tile, channel, col + first)", "copy(tile, channel, col)"),
    "a share of dy twice": (DW, PAIR, "origin.col + i, k + share, 0", "origin.col + i, k, 0"),
    "half of w not sent": (FORWARD, PAIR, "(1 << CLUSTER) - 1)", "1 << rank_in_cluster())"),
    "taps of a class counted from the first": (DX, PLAIN, "rows.first_tap + row * rows.tap_step",
                                               "row * rows.tap_step"),
    "pixels of a class side by side": (DX, PLAIN, "part.rows.first_place + at.remainder * part.rows.place_step",
                                       "at.remainder"),
    "w as forward reads it": (DX, PLAIN, "B_K = CONVOLUTION == CONVOLUTION_DX", "B_K = false"),
    "the map of the first class": (DX, PLAIN, "&maps.of[number], part", "&maps.of[0], part"),
    "pieces of the next class left out": (DX, PLAIN, "return work.passed(gemm)", "return work.number"),
    "both consumers with one tap": (DW, PLAIN, "Rows(conv, origin.row + GROUP_M)", "Rows(conv, origin.row)"),
    "taps of dw swapped": (DW, PLAIN, "offset_w = tap.remainder * cols.step", "offset_w = tap.quotient * cols.step"),
    "the first pixels again": (DW, PLAIN, "conv.axes[1][0], k)", "conv.axes[1][0], depth.first)"),
    "dy of the first pixels": (DW, PAIR, "i, k + share, 0, full, (1", "i, depth.first + share, 0, full, (1"),
    "pixels that are not asked for": (DW, PLAIN, "barrier_expect(full, STAGE_BYTES)", "barrier_expect(full, B_BYTES)"),
    "a stage that is filled too early": (DW, PLAIN, "      barrier_wait(&stages.empty[at.stage], at.phase ^ 1);\n", ""),
}  # fmt: skip


def break_it(case, tile, right, wrong):
    def edit(text):
        return text.replace(right, wrong)

    part = parts_of(case.conv)[0]
    what = built_for(tile, case.conv, part.scattered, case.moments)
    cpu.build(what.file, edit, **dict(what.macros) | {"STAGES": 3})
    return edit


@pytest.fixture(scope="module", autouse=True)
def built_two_at_a_time():
    cpu.build_ahead([functools.partial(break_it, *broken) for broken in BROKEN.values()])


@pytest.mark.parametrize(
    ("case", "tile"),
    [(FORWARD, PAIR), (FULL, WIDE), (CUT, PLAIN), (DX, PLAIN), (DW, PAIR), (MOMENTS, PLAIN), (SUMS, PLAIN)],
    ids=str,
)
def test_what_is_broken_was_right(case, tile):
    assert run(case, tile, stages=3) < 1e-6


@pytest.mark.parametrize("mistake", BROKEN)
def test_broken_convolution_is_found(mistake):
    case, tile, right, wrong = BROKEN[mistake]
    edit = break_it(case, tile, right, wrong)
    assert not survives(lambda: run(case, tile, edit, stages=3) < 1e-6)
