"""Products and rungs of the ladder broken on purpose: each of these mistakes compiles, and must not survive the
comparison."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from mpitrain.kernels.divide import divide_record
from tests.kernels import cpu
from tests.kernels.arrays import i32
from tests.kernels.products import gemm, ladder
from tests.kernels.products.cases import Case, Variant

# the first test waits for all builds
pytestmark = [cpu.needs_gxx, pytest.mark.slow, pytest.mark.timeout(900)]

SIMT, TF32, TF32_TN = Variant("gemm_simt"), Variant("gemm_mma", inputs="tf32"), Variant("gemm_mma", 1, 0, inputs="tf32")
BF16 = Variant("gemm_mma", inputs="bf16")
WGMMA = Variant("gemm_wgmma", inputs="bf16")
PAIR = Variant("gemm_wgmma", 0, 1, inputs="bf16", cluster=2)
WAIT, BARRIER, FETCH = "    copy_wait<STAGES - 2>();", "    __syncthreads();", "    fetch(tile + STAGES - 1);"

PRODUCTS = {
    "no barrier between tiles": (SIMT, "    }\n    __syncthreads();\n  }", "    }\n  }"),
    "no barrier before the first tile": (SIMT, "  __syncthreads();\n  for (int k0", "  for (int k0"),
    "one tile where there should be two": (SIMT, "tiles[now ^ 1]", "tiles[now]"),
    "edge rows not cut off": (SIMT, "i * APART < outer ? inner : 0", "inner"),
    "pieces swapped": (SIMT, "a[i].at[r] * b[j].at[c]", "a[i].at[c] * b[j].at[r]"),
    "no wait for the copies": (TF32, WAIT, ""),
    "a wait one group short": (TF32, "copy_wait<STAGES - 2>", "copy_wait<STAGES - 1>"),
    "no barrier after the wait": (TF32, BARRIER, ""),
    "a stage filled before the barrier": (TF32, f"{BARRIER} ", f"{FETCH}\n{BARRIER}\n    if (false) // "),
    "a stage filled too early": (TF32, FETCH, FETCH.replace(" - 1", "")),
    "a stage too few": (TF32, "stages + tile % STAGES * STAGE_BYTES", "stages + tile % (STAGES - 1) * STAGE_BYTES"),
    "groups not counted at the end": (TF32, "    copy_commit();\n  }", "    if (tile < num_tiles) copy_commit();\n  }"),
    "the edge of k not looked at": (TF32, "aligned ? (depth.stop - depth.first) / TILE_K : 0", "num_tiles"),
    "the first tile again and again": (BF16, "b_loader.fetch(stage + A_BYTES, tile * TILE_K)",
                                       "b_loader.fetch(stage + A_BYTES, 0)"),
    "fragments of A swapped": (TF32, "mma_m16n8k8_tf32(sums[i][j], a[i],", "mma_m16n8k8_tf32(sums[i][j], a[i ^ 1],"),
    "fragments of B swapped": (BF16, "b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]",
                             "b[j / 2][j % 2 * 2 + 1], b[j / 2][j % 2 * 2]"),
    "the matrices of ldmatrix in another order": (BF16, "upper = is_upper(lane / 8)", "upper = 1 - is_upper(lane / 8)"),
    "swizzled on one side only": (TF32, "Tile::offset(first + 8 * upper + lane % 8, 2 * i + second)",
                                  "((first + 8 * upper + lane % 8) * Tile::ROW_CHUNKS + 2 * i + second) * 16"),
    "elements of a column in another order": (TF32_TN, "place_[2 * i + is_upper(j)]", "place_[2 * i + is_second(j)]"),
    "not rounded to tf32": (TF32, "r[j] = to_tf32(r[j])", "r[j] = r[j]"),
    "pieces of a row in another order": (TF32, "N * (lane % 4 / LANES)", "N * (lane % 4 % LANES)"),
}  # fmt: skip

FULL = "    barrier_wait(&ring.full[at.stage], at.phase);\n"
EMPTY = "      barrier_wait(&stages.empty[at.stage], at.phase ^ 1);\n"
FIRST_MEETING = "  if (BLOCKS > 1)\n    cluster_barrier();\n  else\n    __syncthreads();\n"
LAST_MEETING = "  if (BLOCKS > 1) cluster_barrier();  //"
HOPPER = {
    "no barrier after the init": (WGMMA, FIRST_MEETING, ""),
    "no fence after the init": (WGMMA, "    barrier_init_fence();\n", ""),
    "multiplied before the bytes are there": (WGMMA, FULL, ""),
    "filled before it is empty": (WGMMA, EMPTY, ""),
    "waits for the wrong phase": (WGMMA, "at.phase ^ 1", "at.phase"),
    "the phase never turns": (WGMMA, "      phase ^= 1;\n", ""),
    "expects a part of the bytes": (WGMMA, "barrier_expect(full, STAGE_BYTES)", "barrier_expect(full, A_BYTES)"),
    "released before wgmma has read it": (WGMMA, "    wgmma_wait<1>();", "    //"),
    "released one step early": (WGMMA, "release(last);\n    last", "release(at.stage);\n    last"),
    "sums read before wgmma is done": (WGMMA, "  wgmma_wait(sums);\n", ""),
    "no fence before wgmma": (WGMMA, "    wgmma_fence(sums);\n", ""),
    "first product added to what was there": (WGMMA, "step > 0 || i > 0", "i > 0"),
    "no swizzle in the descriptor": (WGMMA, "SWIZZLE_128 = 1ull << 62", "SWIZZLE_128 = 0"),
    "tiles not aligned to the swizzle": (WGMMA, "buffers = align_to_swizzle(shared)", "buffers = shared"),
    "a wrong stride in the descriptor": (WGMMA, "GROUP = 1024;", "GROUP = 512;"),
    "a wrong leading offset": (WGMMA, "K_CONTIGUOUS ? 1 : leading >> 4", "K_CONTIGUOUS ? 1 : leading >> 5"),
    "k advanced too little": (WGMMA, "A_STEP = A_K ? STEP_BYTES : STEP_BYTES / ELEMENT * ROW_BYTES",
                              "A_STEP = 16"),
    "both consumers take the same rows": (WGMMA, "PING_PONG ? 0 : consumer * GROUP_M", "0"),
    "a factor transposed": (WGMMA, "wgmma<BF16, A_K", "wgmma<BF16, !A_K"),
    "more registers taken than given": (WGMMA, "registers_take<232>", "registers_take<240>"),
    "half of B not sent": (PAIR, "(1 << CLUSTER) - 1)", "1 << rank)"),
    "a stage empty when this block is done with it": (PAIR, "readers * BLOCKS", "readers"),
    "the other block not told": (PAIR, "if (lane < BLOCKS) barrier_arrive(&empty[stage], lane)",
                                 "if (lane < BLOCKS) barrier_arrive(&empty[stage], rank_in_cluster())"),
    "blocks of a cluster that do not meet at first": (PAIR, FIRST_MEETING, "  __syncthreads();\n"),
    "a block that leaves early": (PAIR, LAST_MEETING, "  //"),
}  # fmt: skip

RUNGS = {
    "no barrier before reading": ("gemm_03_shared", "    __syncthreads();\n    for", "    for"),
    "no barrier before overwriting": ("gemm_05_2d_tile", "    }\n    __syncthreads();\n  }", "    }\n  }"),
    "columns swapped": (
        "gemm_08_tensor_cores",
        "c % 2 * 2], b_values[c / 2][c % 2 * 2 + 1]",
        "c % 2 * 2 + 1], b_values[c / 2][c % 2 * 2]",
    ),
    "swizzled by readers alone": ("gemm_09_swizzle", "(at(tile, y, x), piece", "(&tile[y][x], piece"),
    "no barrier after wgmma": ("gemm_11_ring", "    __syncthreads();       //", "    //"),
    "both warpgroups at the same rows": ("gemm_12_wide", "a_tile + group * 64 * 128", "a_tile"),
    "released before wgmma is done": ("gemm_13_producer", "      wgmma_wait(sums);\n      if", "      if"),
    "released while wgmma runs": ("gemm_14_overlap", "release(tile - 1);", "release(tile);"),
    "no wait before the sums are written": ("gemm_14_overlap", "    wgmma_wait(sums);\n    write", "    write"),
    "last stage of a tile kept": ("gemm_15_persistent", "if (steps > 0) release(place - 1);", ""),
    "phase of the tile, not of the ring": (
        "gemm_15_persistent",
        "barrier_wait(&full[place % STAGES], place / STAGES % 2)",
        "barrier_wait(&full[place % STAGES], step / STAGES % 2)",
    ),
    "released in one block alone": ("gemm_16_multicast", "% 32 < CLUSTER) barrier_arrive", "% 32 < 1) barrier_arrive"),
    "other block not waited for": (
        "gemm_16_multicast",
        "barrier_init(&empty[i], 8 * CLUSTER)",
        "barrier_init(&empty[i], 8)",
    ),
    "no fence before the store": ("gemm_17_store", "    fence_async();\n", ""),
    "box written while it is stored": ("gemm_17_store", "    if (lane == 0) tensor_stores_read<1>();\n", ""),
    "rows of out not swizzled": ("gemm_17_store", "(piece ^ y % 8)", "piece"),
    "block ends before its stores": ("gemm_17_store", "    if (threadIdx.x % 32 == 0) tensor_stores_read<0>();", ""),
    "both consumers begin": ("gemm_18_ping_pong", "unsigned turn = consumer ^ 1;", "unsigned turn = 1;"),
    "no turns": ("gemm_18_ping_pong", "barrier_wait(&turns[consumer], turn);", ""),
    "one turn after the other's": ("gemm_18_ping_pong", "      place += steps;", "      place += 0;"),
    "half of b for one block alone": ("gemm_16_multicast", "barrier, 3);", "barrier, 1 << rank);"),
    "a row too far": ("gemm_07_warp_tile", "r / 4 * STEP_M + r % 4", "r / 4 * STEP_M + r % 4 + 1"),
}


@pytest.fixture(scope="module", autouse=True)
def built_two_at_a_time():
    jobs = [functools.partial(break_product, *broken) for broken in PRODUCTS.values()]
    jobs += [functools.partial(break_product, *broken, **HOPPER_TILE) for broken in HOPPER.values()]
    cpu.build_ahead([*jobs, *(functools.partial(break_rung, *broken) for broken in RUNGS.values())])


def break_product(variant, right, wrong, **tile):
    return cpu.build(f"{variant.kernel}.cu", lambda text: text.replace(right, wrong), **variant.macros, **tile)


def break_rung(name, right, wrong):
    return cpu.build(f"{name}.cu", lambda text: text.replace(right, wrong))


@pytest.mark.parametrize("mistake", PRODUCTS)
def test_broken_product_is_found(mistake):
    check(*PRODUCTS[mistake], Case(150, 140, 300, pad=4, seed=1))


# Two or three tiles a block, of eight steps each, so that the ring of stages turns over; 128 columns are enough.
HOPPER_CASE, HOPPER_TILE = Case(256, 400, 8 * 64, seed=1), {"TILE_N": 128, "STAGES": 3}


@pytest.mark.parametrize("variant", [WGMMA, PAIR], ids=str)
def test_what_is_broken_was_right(variant):
    kernels = cpu.build("gemm_wgmma.cu", **variant.macros, **HOPPER_TILE)
    assert gemm.run(kernels, variant, HOPPER_CASE) < 1e-6


@pytest.mark.parametrize("mistake", HOPPER)
def test_broken_wgmma_product_is_found(mistake):
    check(*HOPPER[mistake], HOPPER_CASE, **HOPPER_TILE)


def check(variant, right, wrong, case, **tile):
    """Some mistakes need an unlucky order of threads: up to 16 are tried."""
    broken = break_product(variant, right, wrong, **tile)
    for seed in range(case.seed, case.seed + 16):
        try:
            error = gemm.run(broken, variant, replace(case, seed=seed))
        except (cpu.Launch, AssertionError):  # refused by the shim, or written outside the matrix
            return
        if not error < 1e-6:
            return
    pytest.fail(f"not found with seeds {case.seed} to {seed}")


@pytest.mark.parametrize("mistake", RUNGS)
def test_broken_rung_is_found(mistake):
    name, right, wrong = RUNGS[mistake]
    broken = break_rung(name, right, wrong)
    try:
        error = ladder.run(broken, name, 300, 600, 520, seed=1)
    except cpu.Launch:
        return
    assert not error < 1e-6


@pytest.mark.parametrize(
    "text", [("  __syncthreads();\n  float* to", "  float* to"), ("tile[threadIdx.x][i])", "tile[i][threadIdx.x])")]
)
def test_broken_rounding_is_found(text):
    broken = cpu.build("round_tf32.cu", lambda whole: whole.replace(*text))
    x, y = np.random.default_rng(0).standard_normal((40, 36)).astype(np.float32), np.zeros((36, 40), np.float32)
    sizes = [np.array(0), *map(i32, (36, 40, 40, 36)), divide_record(2), divide_record(2)]
    broken.launch("round_columns", grid=(4, 1, 1), block=(32, 8, 1), arguments=[x, y, *sizes], seed=1)
    assert not np.allclose(y, x.T, rtol=1e-3)
