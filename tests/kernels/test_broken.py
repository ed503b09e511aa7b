"""Kernels broken on purpose: each of these mistakes compiles, and must not survive the comparison."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from mpitrain.kernels.divide import divide_record
from mpitrain.ops.cuda.launch import window_record
from mpitrain.ops.window import Window
from tests.kernels import cpu, formats
from tests.kernels.arrays import NULL, f32, i32, i64, launch
from tests.kernels.products import gemm, ladder
from tests.kernels.products.cases import Case, Variant
from tests.kernels.reductions import softmax
from tests.kernels.reductions.moments import merge_slabs

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


def test_broken_sum_is_found():
    broken = cpu.build(
        "reduce.cu", lambda whole: whole.replace("  __syncthreads();\n  if (warp == 0)", "  if (warp == 0)")
    )
    x, out = np.ones((100, 128), np.float32), np.zeros(128, np.float32)
    launch(broken, "column_sum", x, out, i32(100), i32(128), i32(128), i32(100), i32(0), grid=1)
    assert not (out == 100).all()


@pytest.mark.parametrize(
    "text",
    [
        ("first + r < ranks) parts[r]", "first + r < ranks - 1) parts[r]"),
        ("x + (first + r) * n", "x + r * n"),
        ("x + (first + r) * n + i", "x + (first + r) * n"),
        ("sum.at[j] += to_float(parts[r].at[j])", "sum.at[j] = rounded_bf16(sum.at[j] + to_float(parts[r].at[j]))"),
        ("first += SEVERAL", "first += SEVERAL + 1"),
    ],
)
def test_broken_sums_over_ranks_are_found(text):
    rounding = "__device__ float rounded_bf16(float x) { return to_float(Convert<bf16>::from(x)); }\n"
    begin = 'extern "C" __global__'
    broken = cpu.build(
        "sum_over_ranks.cu",
        lambda whole: whole.replace(*text).replace(begin, rounding + begin),
        ELEMENT_BF16=1,
    )
    x, y = (
        formats.to_bf16(np.random.default_rng(0).standard_normal((6, 2051)).astype(np.float32)),
        np.zeros(2051, np.uint16),
    )
    launch(broken, "sum_over_ranks", x, y, i32(6), i64(2051))
    total = np.zeros(2051, np.float32)
    for row in formats.from_bf16(x):
        total += row
    assert not np.array_equal(y, formats.to_bf16(total))


@pytest.mark.parametrize(
    "text",
    [
        ("store<PIECE>(slice.copy + i,", "store<PIECE>(slice.copy + (i & 4),"),
        ("    store<PIECE>(slice.w + i, w, count, aligned);\n", ""),
        ("apply<bf16>([](float x) { return x; }, w)", "apply<bf16>([](float x) { return x; }, g)"),
        ("if (slice.copy) store", "if (slice.copy && slice.decays) store"),
    ],
)
def test_broken_copies_of_weights_are_found(text):
    rng = np.random.default_rng(0)
    w, g = (rng.standard_normal(1000).astype(np.float32) for _ in range(2))
    expected, copy = w - np.float32(0.1) * g, np.zeros(1000, np.uint16)
    numbers = [f32(x) for x in (0.1, 1, 0, 0)]
    arrays = w, g, NULL, NULL, copy, NULL
    launch(cpu.build("update.cu", lambda whole: whole.replace(*text)), "sgd", *arrays, i64(1000), *numbers, i32(0))
    right = np.allclose(w, expected) and np.array_equal(copy, formats.to_bf16(expected.astype(np.float32)))
    assert not right


@pytest.mark.parametrize(
    "text",
    [
        ("    __syncthreads();\n    next = key_at", "    next = key_at"),
        (
            "    __syncthreads();\n  }\n#pragma unroll\n  for (int apart = 1",
            "  }\n#pragma unroll\n  for (int apart = 1",
        ),
        ("below += __shfl_xor_sync(~0u, below, apart)", "below += 0"),
        ("4 * i + j < before", "4 * i + j <= before"),
        ("count<1>(tile", "count<0>(tile"),
        ("first > first_own", "first + COUNTERS > first_own"),
        ("COUNTERS / LANES - less - more", "COUNTERS / LANES - less"),
        ("first + COUNTERS + threadIdx.x", "first + threadIdx.x"),
        (" : BEHIND; };", " : 0; };"),
    ],
)
def test_broken_order_is_found(text):
    broken = cpu.build("embedding.cu", lambda whole: whole.replace(*text))
    ids, (order, starts) = np.random.default_rng(0).integers(0, 9, 700), np.full((2, 3000), -1, np.int32)
    launch(broken, "embedding_order", ids, order, starts, i32(700), grid=11)
    assert not np.array_equal(order[:700], np.argsort(ids, kind="stable"))


@pytest.mark.parametrize(
    "text",
    [
        ("  __syncthreads();\n  const int stop", "  const int stop"),
        ("seen + 1 == m || ", ""),
        ("threadIdx.x == PART - 1 || ", ""),
        ("end = seen + 1", "end = seen"),
    ],
)
def test_broken_ends_of_runs_are_found(text):
    """Runs of one word, of several, and of more than a block adds up, to the last place."""
    rng = np.random.default_rng(0)
    broken, ids = (
        cpu.build("embedding.cu", lambda whole: whole.replace(*text)),
        np.repeat([0, 1, 2, 3, 4], [1, 5, 150, 30, 40]),
    )
    dy, order, starts = (
        rng.standard_normal((226, 8)).astype(np.float32),
        np.arange(226, dtype=np.int32),
        np.zeros(227, np.int32),
    )
    starts[:226], starts[226] = np.searchsorted(ids, ids), 186
    dtable, partials = np.zeros((5, 8), np.float32), np.zeros((8, 8), np.float32)
    sizes = i32(226), i32(8), i64(5)
    try:
        launch(broken, "embedding_dw", ids, order, starts, dy, dtable, partials, *sizes, grid=226, block=128, seed=1)
        launch(broken, "embedding_merge", ids, order, starts, dtable, partials, *sizes, grid=4, block=128)
    except cpu.Launch:
        return
    assert not np.allclose(dtable, [dy[ids == i].sum(axis=0) for i in range(5)], atol=1e-4)


@pytest.mark.parametrize(
    "text", [("  __syncthreads();\n  float* to", "  float* to"), ("tile[threadIdx.x][i])", "tile[i][threadIdx.x])")]
)
def test_broken_rounding_is_found(text):
    broken = cpu.build("round_tf32.cu", lambda whole: whole.replace(*text))
    x, y = np.random.default_rng(0).standard_normal((40, 36)).astype(np.float32), np.zeros((36, 40), np.float32)
    sizes = [np.array(0), *map(i32, (36, 40, 40, 36)), divide_record(2), divide_record(2)]
    broken.launch("round_columns", grid=(4, 1, 1), block=(32, 8, 1), arguments=[x, y, *sizes], seed=1)
    assert not np.allclose(y, x.T, rtol=1e-3)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("  __syncthreads();\n  if (warp == 0)", "  if (warp == 0)"),
        ("apart * apart * count * part", "apart * apart * part"),
        ("mean[i] += apart * part;\n      squares[i] += other", "squares[i] += other"),
        ("squares[i] += own + apart", "squares[i] += apart"),
        ("part = TOGETHER / both", "part = 1 / both"),
    ],
)
def test_broken_moments_are_found(right, wrong):
    broken = cpu.build("batchnorm_moments.cu", lambda whole: whole.replace(right, wrong))
    x, moments = np.random.default_rng(0).standard_normal((1500, 8)).astype(np.float32), np.zeros((2, 8), np.float32)
    launch(broken, "batchnorm_moments", x, moments, i32(1500), i32(8), i32(1500), grid=1)
    expected = [x.mean(axis=0), ((x - x.mean(axis=0)) ** 2).sum(axis=0)]
    assert not np.allclose(moments, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("of_slab.count = min(rows - slab * rows_per_slab, rows_per_slab)", "of_slab.count = rows_per_slab"),
        ("mine.merge(both[1]);", ""),
        ("squares = load<PIECE>(from + channels", "squares = load<PIECE>(from"),
        ("[&](const Moments& one) { mine.merge(one); }", "[&](const Moments& one) {}"),
        ("2ll * slab * channels", "1ll * slab * channels"),
    ],
)
def test_broken_merge_of_slabs_is_found(right, wrong):
    broken = cpu.build("batchnorm_moments.cu", lambda whole: whole.replace(right, wrong))
    error = merge_slabs(broken, 9211, 8, 16, 300)
    assert not error < 1e-5


SOFTMAX = {
    "a sum that does not follow the maximum": (1, "    sum *= exp_below(largest, next);\n", ""),
    "lanes that do not follow the maximum": (
        1,
        "sum(sum * exp_below(largest, of_row), sum_of)",
        "sum(sum, sum_of)",
    ),
    "no barrier between the warps of a row": (
        8,
        "      __syncthreads();\n      x = parts[0];",
        "      x = parts[0];",
    ),
    "the same shared memory for both": (8, "of_row), sum_of)", "of_row), largest_of)"),
    "the next key seen": (1, "own + 1) : scores.keys", "own + 2) : scores.keys"),
    "queries counted from 0": (1, "own = scores.first + query", "own = query"),
    "lengths of heads": (1, "scores.samples_inner ? inner : outer", "scores.samples_inner ? outer : inner"),
    "segments of the first sample": (
        1,
        "segments + (long long)sample * scores.length + scores.key",
        "segments + scores.key",
    ),
    "a segment that has no end": (
        1,
        "min(end, first_not_below(row_of_keys, scores.keys,",
        "max(end, first_not_below(row_of_keys, scores.keys,",
    ),
    "a segment that begins a key late": (1, "if (numbers[middle] < number)", "if (numbers[middle] <= number)"),
    "the piece before a segment": (1, "if (i + j < begin || i + j >= end) seen", "if (i + j >= end) seen"),
    "p before a segment": (1, "seen ? expf(to_float(value.at[j])", "i + j < end ? expf(to_float(value.at[j])"),
    "the mask of another head": (1, "head * dropout.matrix_apart", "0"),
    "the mask of another query": (1, "matrix_apart + query", "matrix_apart"),
    "the mask of another sample": (1, "sample * dropout.sample_apart", "0"),
    "the mask of the samples before": (1, "(counters ? counters[1] : dropout.first)", "dropout.first"),
    "the mask of another tick": (1, "first_tick + column / TICK", "first_tick"),
    "dp without its mask": (1, "p * (slope * f - dot)", "p * (slope - dot)"),
    "p in the end without its mask": (1, "[](float p, float f) { return p * f; }", "[](float p, float) { return p; }"),
    "a length below 0": (1, "length < 0 ? 0 : int(length)", "int(length)"),
    "statistics of another matrix": (1, "outer * scores.outer_apart + inner", "inner * scores.outer_apart + outer"),
    "the logarithm of nothing": (1, "of_row + logf(sum)", "of_row + logf(sum < 1 ? 1 : sum)"),
    "hidden keys left as they are": (1, "store<PIECE>(p + i, value, count - i", "store<PIECE>(p + i, value, end - i"),
    "no sum of p dp": (1, "p * (slope * f - dot)", "p * slope * f"),
}


@pytest.mark.parametrize("mistake", SOFTMAX)
def test_broken_softmax_is_found(mistake):
    warps, right, wrong = SOFTMAX[mistake]
    broken = cpu.build("softmax.cu", lambda whole: whole.replace(right, wrong), ROW_WARPS=warps, DROPS=1)
    for case in softmax.CASES:
        try:
            found = softmax.run(broken, case, seed=1)
        except (cpu.Launch, AssertionError):
            return
        if not all(np.allclose(mine, expected, rtol=1e-4, atol=1e-4) for mine, expected in found):
            return
    pytest.fail("right in all cases")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("tap.quotient * window.dilation[0]", "tap.remainder * window.dilation[0]"),
        ("window.first_seen(1, at.remainder)", "window.first_seen(1, at.quotient)"),
        ("x + from + group * depth", "x + from"),
        ("      rest -= dilation[dim];", "      rest -= 1;"),
        ("rest >= 0 && by_stride[dim](rest).remainder > 0", "false"),
        ("dx + at.offset + group * depth", "dx + at.offset"),
    ],
)
def test_broken_columns_are_found(right, wrong):
    """Two groups, and taps of which only some meet a pixel."""
    window = Window((4, 3), (4, 2), (3, 1), (6, 3))
    x = np.random.default_rng(0).standard_normal((2, 17, 9, 16)).astype(np.float32)
    record, found = window_record(window, x, groups=2), []
    for edit in (None, lambda whole: whole.replace(right, wrong)):
        columns, dx = np.zeros((2, 2 * 2 * 3, 12 * 8), np.float32), np.zeros_like(x)
        kernels = cpu.build("conv2d_im2col.cu", edit)
        launch(kernels, "im2col", x, columns, record)
        launch(kernels, "col2im", 1 + np.arange(columns.size, dtype=np.float32), dx, record)
        found.append((columns, dx))
    assert any(not np.array_equal(*pair) for pair in zip(*found))
