"""The epilogue of gemm_wgmma by way of shared memory, and its consumers that take turns, broken on purpose."""

import functools
from dataclasses import replace

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
NO_PRE = Case(512, 384, 64, seed=1)
NARROW = Variant("gemm_wgmma", 0, 1, "gelu_gradient", "bf16", "bf16", tile=tile(128, 96, 3, 3, 1))
THIN = Case(512, 480, 64, seed=1, keep_pre=True)

WAIT_BUFFER = "      if (lane == 0) tensor_stores_read<USED - 1>();\n"
AT_EDGES, AFTER_EDGES = (
    "    fence_async(buffers, CHUNK_BYTES);  // a copy may write there next\n",
    "    __syncwarp();\n  }\n\n  // The warp may",
)
HALF = "      fence_async(buffer, CHUNK_BYTES);  // a copy may write there next\n"
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
    "the two groups of stmatrix swapped": (TURNS, "{to_bf16_pair(x[0], x[1]), to_bf16_pair(x[2], x[3])",
                                         "{to_bf16_pair(x[2], x[3]), to_bf16_pair(x[0], x[1])"),
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
    "a turn that is never passed": (TURNS, "if (PING_PONG) pass_turn(stream, work, consumer);", ""),
    "a first turn for nobody": (TURNS, "if (PING_PONG && consumer == 1 && work.left(stream)) named",
                                "if (false) named"),
    "the second half of the rows twice": (SLOPE_128, "slab * 64 * ROW_BYTES", "64 * ROW_BYTES"),
    "a slab next to the other": (SLOPE_128, "SLAB_ROWS = 64", "SLAB_ROWS = 16"),
    "pre read before it is there": (SLOPE, "      barrier_wait(&loaded[item % USED], (rounds ^ item / USED) & 1);\n",
                                    ""),
}  # fmt: skip
OTHERS = {  # with cases of their own
    "a buffer of the tile before, not fenced": (SLOPE, EDGE, AT_EDGES, ""),
    "a buffer of the tile before, still read": (SLOPE, EDGE, AFTER_EDGES, AFTER_EDGES.replace("__syncwarp()", "")),
    "groups of a pre that is not kept": (PRE, NO_PRE, "commit_tensor_stores();  // none,", "(void)0;  //"),
    "half a chunk not fenced": (NARROW, THIN, HALF, ""),
    "half a chunk still read": (NARROW, THIN, HALF + "      __syncwarp();\n", HALF),
}  # fmt: skip


def run(variant, case, edit=None):
    return gemm.run(cpu.build("gemm_wgmma.cu", edit, **variant.macros), variant, case)


def broken(mistake):
    variant, case, right, wrong = (
        OTHERS[mistake] if mistake in OTHERS else (BROKEN[mistake][0], CASE, *BROKEN[mistake][1:])
    )
    return variant, case, lambda text: text.replace(right, wrong)


@pytest.fixture(scope="module", autouse=True)
def built_two_at_a_time():
    edits = [broken(mistake) for mistake in (*BROKEN, *OTHERS)]
    cpu.build_ahead([functools.partial(cpu.build, "gemm_wgmma.cu", edit, **v.macros) for v, _, edit in edits])


@pytest.mark.parametrize(
    ("variant", "case"),
    [*((v, CASE) for v in (FLOATS, TURNS, PRE, SLOPE, SLOPE_128)), *(each[:2] for each in OTHERS.values())],
    ids=str,
)
def test_what_is_broken_was_right(variant, case):
    assert run(variant, case) < TOLERANCE[variant.outputs]


@pytest.mark.parametrize("mistake", [*BROKEN, *OTHERS])
def test_mistakes_are_found(mistake):
    """Some mistakes need an unlucky order of threads and copies: a few are tried."""
    variant, case, edit = broken(mistake)
    for seed in range(1, 9):
        try:
            error = run(variant, replace(case, seed=seed), edit)
        except (cpu.Launch, AssertionError):  # refused by the shim, or written outside the matrix
            return
        if not error < TOLERANCE[variant.outputs]:
            return
    pytest.fail(f"not found with seeds 1 to {seed}")
