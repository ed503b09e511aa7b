"""The epilogue of gemm_wgmma by way of shared memory, and its consumers that take turns, broken on purpose."""

import functools

import pytest

from tests.kernels import cpu
from tests.kernels.products import gemm
from tests.kernels.products.cases import Case, Variant
from tests.kernels.products.test_gemm_wgmma import TOLERANCE, tile

# the first test waits for all builds
pytestmark = [cpu.needs_gxx, pytest.mark.slow, pytest.mark.timeout(900)]

FLOATS = Variant("gemm_wgmma", inputs="bf16", tile=tile(128, 128, 3, 2, 0))
TURNS = Variant("gemm_wgmma", 0, 1, "none", "bf16", "bf16", tile=tile(64, 128, 3, 2, 1))
PRE = Variant("gemm_wgmma", 0, 1, "gelu_tanh", "bf16", "bf16", tile=tile(64, 128, 3, 4, 1))
SLOPE = Variant("gemm_wgmma", 0, 1, "gelu_tanh_gradient", "bf16", "bf16", tile=tile(64, 128, 3, 2, 1))
SLOPE_128 = Variant("gemm_wgmma", 0, 1, "gelu_gradient", "bf16", "bf16", cluster=2, tile=tile(128, 128, 3, 2, 1))
CASE = Case(512, 384, 7 * 64, seed=1, sum_columns=True, keep_pre=True)  # whole tiles

EDGE = Case(200, 400, 64, seed=1, keep_pre=True)  # tiles at the edge before others

WAIT_BUFFER = "      if (lane == 0) tensor_stores_read<USED - 1>();\n"
BROKEN = {
    "no fence before the store": (FLOATS, "      fence_async(buffer, CHUNK_BYTES);\n", ""),
    "one lane fences for its warp": (FLOATS, "      fence_async(buffer, CHUNK_BYTES);\n",
                                     "      if (lane == 0) fence_async(buffer, CHUNK_BYTES);\n"),
    "stored before all lanes have written": (TURNS, "      fence_async(buffer, CHUNK_BYTES);\n      __syncwarp();\n",
                                             "      fence_async(buffer, CHUNK_BYTES);\n"),
    "a buffer written before it was read": (FLOATS, WAIT_BUFFER, ""),
    "a wait one group short": (TURNS, "tensor_stores_read<USED - 1>", "tensor_stores_read<USED>"),
    "groups that do not count buffers": (PRE, "tensor_stores_read<USED - 1>", "tensor_stores_read<2 * USED - 1>"),
    "a warp that ends before its stores": (FLOATS, "tensor_stores_read<0>();\n  }\n\n private",
                                    "(void)0;\n  }\n\n private"),
    "rows of stmatrix not exchanged": (TURNS, "piece = lane / 16 ^ lane % 8", "piece = lane / 16"),
    "the two groups of stmatrix swapped": (TURNS, "{to_bf16_pair(x[g][0], x[g][1]), to_bf16_pair(x[g][2], x[g][3])",
                                         "{to_bf16_pair(x[g][2], x[g][3]), to_bf16_pair(x[g][0], x[g][1])"),
    "the halves of floats not exchanged": (FLOATS, "(chunk), odd ? g ^ 2 : g, half) = pair",
                                           "(chunk), g, half) = pair"),
    "the bias of the first chunk": (FLOATS, "tile.col + 8 * (first + g) + pair", "tile.col + 8 * g + pair"),
    "boxes of the next rows": (TURNS, "tensor_store(&map, at.col, at.row,", "tensor_store(&map, at.col, at.row + 1,"),
    "pre not fetched": (SLOPE, "for (int item = 0; item < USED; item++)",
                        "for (int item = 1; item < USED; item++)"),
    "rounds not counted": (SLOPE, "    if (READS_PRE) rounds ^= ITEMS / USED & 1;\n", ""),
    "pre fetched where a store still reads": (SLOPE_128, "    tensor_stores_read<LAG>();\n", ""),
    "pre of the tile before": (SLOPE, "    tensor_stores_read<0>();\n#pragma", "#pragma"),
    "half of the rows not summed": (SLOPE, "x[j / 2][j % 2] + x[j / 2][j % 2 + 2]", "2 * x[j / 2][j % 2]"),
    "sums of another column": (SLOPE, "to[(which + j) / 2 * 8 + (which + j) % 2]",
                              "to[(which + j) / 2 * 8 + 1 - (which + j) % 2]"),
    "sums given to the wrong lane": (SLOPE, "upper ? x[j] : x[j + HALF]", "upper ? x[j + HALF] : x[j]"),
    "stages of the other consumer": (TURNS, "      at.advance(steps);\n      continue;", "      continue;"),
    "a turn that is never passed": (TURNS, "if (PING_PONG) pass_turn(gemm, work, consumer);", ""),
    "a first turn for nobody": (TURNS, "if (PING_PONG && consumer == 1 && work.left(gemm)) named", "if (false) named"),
    "the second half of the rows twice": (SLOPE_128, "slab * 64 * ROW_BYTES", "64 * ROW_BYTES"),
    "a slab next to the other": (SLOPE_128, "SLAB_ROWS = 64", "SLAB_ROWS = 16"),
}  # fmt: skip


def run(variant, edit=None):
    return gemm.run(cpu.build("gemm_wgmma.cu", edit, **variant.macros), variant, CASE)


def broken(mistake):
    variant, right, wrong = BROKEN[mistake]
    return variant, lambda text: text.replace(right, wrong)


@pytest.fixture(scope="module", autouse=True)
def built_two_at_a_time():
    edits = [broken(mistake) for mistake in BROKEN]
    cpu.build_ahead([functools.partial(cpu.build, "gemm_wgmma.cu", edit, **v.macros) for v, edit in edits])


@pytest.mark.parametrize("variant", [FLOATS, TURNS, PRE, SLOPE, SLOPE_128], ids=str)
def test_what_is_broken_was_right(variant):
    assert run(variant) < TOLERANCE[variant.outputs]


@pytest.mark.parametrize("mistake", BROKEN)
def test_mistakes_are_found(mistake):
    variant, edit = broken(mistake)
    try:
        error = run(variant, edit)
    except (cpu.Launch, AssertionError):  # refused by the shim, or written outside the matrix
        return
    assert not error < TOLERANCE[variant.outputs]


def test_a_copy_to_a_buffer_of_the_tile_before_is_found():
    """The sums of a tile at the edge go through the buffer to which pre of the next one is fetched."""
    variant, case = Variant("gemm_wgmma", 0, 1, "gelu_gradient", "bf16", "bf16", tile=tile(64, 128, 3, 2, 1)), EDGE
    assert gemm.run(cpu.build("gemm_wgmma.cu", **variant.macros), variant, case) < TOLERANCE["bf16"]
    fence = "    fence_async(buffers, CHUNK_BYTES);  // a copy may write there next\n"
    broken = cpu.build("gemm_wgmma.cu", lambda text: text.replace(fence, ""), **variant.macros)
    with pytest.raises(cpu.Launch, match="a thread wrote and did not fence"):
        gemm.run(broken, variant, case)
