"""Convolutions line by line broken on purpose: each of these mistakes compiles, and must not survive the comparison."""

import functools
from dataclasses import replace

import pytest

from mpitrain.kernels.convolution_lines import built_for, tile_of
from tests.kernels import cpu
from tests.kernels.apart import survives
from tests.kernels.convolutions.cases import Case
from tests.kernels.convolutions.hopper import run
from tests.kernels.convolutions.test_conv2d_lines import TOLERANCE, lines

pytestmark = [cpu.needs_gxx, pytest.mark.slow, pytest.mark.timeout(900)]

DEEP = Case(lines(3, (4, 20), 72, 72, padding=(1, 2)), bias=True, beta=1.0, seed=1)
DX = replace(DEEP, conv=replace(DEEP.conv, kind="dx"))
WIDE = Case(lines(2, (3, 67), 16, 16), seed=1)
PLAIN = Case(lines(5, (5, 12), 24, 32), seed=1)  # of the last four images side by side there is one
MOMENTS = Case(lines(12, (7, 10), 24, 32), moments=True, seed=1)  # consumers go from some images to others
GROUPED = Case(lines(3, (4, 9), 128, 128, groups=32), seed=1)
WHOLE = Case(lines(2, (3, 7), 256, 256, groups=2, kind="dx"), seed=1)

BROKEN = {
    "the line below": (PLAIN, "line.line + down", "line.line + down + 1"),
    "the pixels beside": (PLAIN, "line.strip * WIDTH + across", "line.strip * WIDTH"),
    "the first strip again": (WIDE, "line.strip * WIDTH + across", "across"),
    "the first images again": (PLAIN, "line.group * Work::IMAGES, full", "0, full"),
    "the first channels again": (DEEP, "box * BOX, line.strip", "0, line.strip"),
    "lines that are not waited for": (PLAIN, "      barrier_wait(&ring.full[at.stage], at.phase);\n", ""),
    "lines that are filled too early": (PLAIN, "      barrier_wait(&ring.empty[at.stage], at.phase ^ 1);\n", ""),
    "lines that are given back too early": (
        PLAIN,
        "      const unsigned char* line = ring.a(at.stage);\n",
        "      const unsigned char* line = ring.a(at.stage);\n"
        "      if (threadIdx.x % 32 == 0) barrier_arrive(&ring.empty[at.stage], 0);\n",
    ),
    "pieces swizzled by their place": (PLAIN, "lane / 16 ^ pixel % 8", "lane / 16 ^ slot % 8"),
    "pieces that are not swizzled": (PLAIN, "lane / 16 ^ pixel % 8", "lane / 16"),
    "images without pixels between them": (PLAIN, "slot / WIDTH * SPAN + slot", "slot / WIDTH * WIDTH + slot"),
    "rows and columns of taps swapped": (PLAIN, "(row * TAPS + tap) * TAP_BYTES", "(tap * TAPS + row) * TAP_BYTES"),
    "taps as forward counts them": (DX, "(rows.first_tap + row * rows.tap_step) * TAPS", "row * TAPS"),
    "w as forward reads it": (DX, "B_K = CONVOLUTION == CONVOLUTION_DX", "B_K = false"),
    "filters of the first columns": (DEEP, "tensor_copy(to, &map, part.col, 0, tap", "tensor_copy(to, &map, 0, 0, tap"),
    "filters that are not waited for": (PLAIN, "        if (!SEVERAL) barrier_wait(shared.weights_there(), 0);\n", ""),
    "sums that begin with those before": (PLAIN, "box > 0 || row > 0 || tap > 0 || i > 0", "true"),
    "sums of the wrong line": (PLAIN, "sums[(PHASE + TAPS - row) % TAPS], a", "sums[(PHASE + row) % TAPS], a"),
    "sums that are not complete": (PLAIN, "row == TAPS - 1) wgmma_commit();", "row == TAPS - 1) {}"),
    "fragments that are still read": (DEEP, "        wgmma_wait<1>();\n", ""),
    "no zeros between images": (PLAIN, "period = max(conv.height - rows.first, outputs)", "period = outputs"),
    "lines of two images counted": (MOMENTS, "ahead == 0 && line.line < work.outputs", "ahead == 0"),
    "lines that come too early": (PLAIN, "ahead = TAPS - 1;", "ahead = TAPS - 2;"),
    "strips that are left out": (WIDE, "    if (++at.strip < strips) return;\n", ""),
    "the last lines left out": (PLAIN, "- position(first) + TAPS", "- position(first) + 2"),
    "results that no copy sees": (PLAIN, "    fence_async(buffer, CHUNK_BYTES);\n    __syncwarp();\n    if (is_",
                                  "    __syncwarp();\n    if (is_"),
    "results over those on their way": (PLAIN, "    } else if (is_first) {\n      tensor_stores_read<0>();\n    }",
                                        "    }"),
    "places of the first strip": (WIDE, "across(line.strip * ACROSS + slot", "across(slot"),
    "the bias of the first columns": (DEEP, "const int col = part.col + threadIdx.x", "const int col = threadIdx.x"),
    "C that is not waited for": (DEEP, "      barrier_wait(loaded, phase);\n", ""),
    "C of the line before": (DEEP, "      phase ^= 1;\n    } else", "    } else"),
    "channels of the first group": (GROUPED, "channel = GROUP_CHANNELS ? col / DEPTH * DEPTH : 0", "channel = 0"),
    "filters beside the groups": (GROUPED, "if (row / SIDE == column / SIDE) x", "x"),
    "filters that wgmma does not see": (GROUPED, "  fence_async();\n}", "}"),
    "filters swizzled by their tap": (GROUPED, "2 * column ^ row % 8 * 16", "2 * column ^ at % 8 * 16"),
    "w of the first group": (WHOLE, "&map, part.channel + box * BOX, row", "&map, box * BOX, row"),
    "rows of w counted through groups": (WHOLE, "GROUP_CHANNELS ? part.col % DEPTH : part.col", "part.col"),
    "moments of places outside": (MOMENTS, "min(8, conv.out_width - at.across)", "8"),
    "moments of half the rows": (MOMENTS, "half < 2; half++) {\n      const Place",
                                 "half < 1; half++) {\n      const Place"),
    "means of warps that are not weighted": (MOMENTS, "off += of(i)->count *", "off += 1.f *"),
    "squares that are not moved": (MOMENTS, "of(i)->squares[column] + of(i)->count * away * away",
                                   "of(i)->squares[column]"),
}  # fmt: skip


def break_it(case, right, wrong):
    def edit(text):
        return text.replace(right, wrong)

    what = built_for(case.conv, case.moments)
    cpu.build(what.file, edit, **dict(what.macros) | {"STAGES": 2})
    return edit


@pytest.fixture(scope="module", autouse=True)
def built_two_at_a_time():
    cpu.build_ahead([functools.partial(break_it, *broken) for broken in BROKEN.values()])


@pytest.mark.parametrize("case", [DEEP, DX, WIDE, PLAIN, MOMENTS, GROUPED, WHOLE], ids=str)
def test_what_is_broken_was_right(case):
    assert run(case, tile_of(case.conv), stages=2) < TOLERANCE


@pytest.mark.parametrize("mistake", BROKEN)
def test_broken_convolution_is_found(mistake):
    case, right, wrong = BROKEN[mistake]
    edit = break_it(case, right, wrong)
    assert not survives(lambda: run(case, tile_of(case.conv), edit, stages=2) < TOLERANCE)
