"""Sums, moments and softmax broken on purpose: each of these mistakes compiles, and must not survive the comparison."""

import numpy as np
import pytest

from tests.kernels import cpu, formats
from tests.kernels.arrays import i32, i64, launch
from tests.kernels.reductions import softmax
from tests.kernels.reductions.moments import merge_slabs

# the first test waits for all builds
pytestmark = [cpu.needs_gxx, pytest.mark.slow, pytest.mark.timeout(900)]


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
