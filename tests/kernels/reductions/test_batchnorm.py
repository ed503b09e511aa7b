"""The kernels of batch normalization against their formulas in float64, alone and at the end of a residual block."""

import numpy as np
import pytest

from tests.kernels import cpu
from tests.kernels.arrays import Elements, f32, i32, launch
from tests.kernels.reductions.moments import merge_slabs

pytestmark = [cpu.needs_gxx, pytest.mark.parametrize("bf16", [0, 1])]
SIZES = pytest.mark.parametrize(
    ("rows", "channels", "each"), [(35, 1, 35), (35, 3, 20), (200, 16, 70), (9, 150, 9), (2100, 8, 1100)]
)
RELU = pytest.mark.parametrize("relu", [0, 1])
EPS = f32(1e-5)


def across(channels, bf16=0):
    """Return the blocks of a sum down columns."""
    return -(-channels // (256 if bf16 else 128))


@SIZES
@RELU
@pytest.mark.parametrize("added", [False, True])
def test_forward(bf16, rows, channels, each, relu, added):
    """By the running statistics, then by those of the batch, in one or several parts."""
    elements, vectors = Elements(bf16), Elements(0, seed=1)
    (x, x_value), (residual, residual_value) = elements.draw(rows, channels, scale=3), elements.draw(rows, channels)
    (w, w_value), (b, b_value), (mean, mean_value), (var, _) = (vectors.draw(channels) for _ in range(4))
    var[:] = var**2
    var_value, parts = np.float64(var), -(-rows // each)
    moments, kept = vectors.room(parts, 2, channels), vectors.room(5, channels)
    passes, y = cpu.build("batchnorm.cu", ELEMENT_BF16=bf16), elements.room(rows, channels)
    sizes, warps = [i32(rows), i32(channels), i32(each)], -(-channels // 8)
    end, images = ("_residual", [x, residual]) if added else ("", [x])

    def check(normalized, scale):
        expected = normalized + residual_value if added else normalized
        elements.check(y, np.maximum(expected, 0) if relu else expected, scale)

    launch(passes, f"batchnorm_evaluate{end}", *images, w, b, mean, var, y, *sizes[:2], EPS, i32(relu))
    expected = (x_value - mean_value) / np.sqrt(var_value + 1e-5) * w_value + b_value
    check(expected, float(np.abs(expected).max()))

    sums = cpu.build("batchnorm_moments.cu", ELEMENT_BF16=bf16)
    launch(sums, "batchnorm_moments", x, moments, *sizes, grid=(across(channels), parts))
    of_batch = [moments, w, b, mean, var, kept, *sizes, f32(0.25), EPS]
    launch(cpu.build("batchnorm_statistics.cu"), "batchnorm_statistics", *of_batch, grid=warps)
    batch_var, own = x_value.var(axis=0), x_value.mean(axis=0)
    r = 1 / np.sqrt(batch_var + 1e-5)
    vectors.check(kept[:2], np.array([own, r]), scale=8)
    vectors.check(mean, 0.75 * mean_value + 0.25 * own, scale=4)
    vectors.check(var, 0.75 * var_value + 0.25 * batch_var * rows / (rows - 1), scale=20)
    launch(passes, f"batchnorm_apply{end}", *images, kept, y, *sizes[:2], i32(relu))
    check((x_value - own) * r * w_value + b_value, 8)


@pytest.mark.parametrize(
    ("rows", "channels", "slab", "each"),
    [(35, 1, 16, 3), (70, 3, 32, 1), (9211, 16, 16, 100), (450, 150, 64, 5), (1, 8, 16, 4)],
)
def test_merge_slabs(bf16, rows, channels, slab, each):
    assert merge_slabs(cpu.build("batchnorm_moments.cu", ELEMENT_BF16=bf16), rows, channels, slab, each) < 1e-5


def draw_kept(channels):
    """Return `kept` that centers x on 2, which is 0.5 more than the mean of all ranks."""
    return np.repeat(np.array([[2], [0.7], [0.5], [-0.6], [-1.3]], np.float32), channels, axis=1)


@SIZES
@RELU
def test_backward(bf16, rows, channels, each, relu):
    """All ranks have 3 times as many pixels."""
    elements, vectors = Elements(bf16), Elements(0, seed=1)
    (dy, dy_value), (x, x_value) = elements.draw(rows, channels), elements.draw(rows, channels)
    (w, w_value), (dw, _), (db, db_value) = (vectors.draw(channels) for _ in range(3))
    kept = draw_kept(channels)
    passed = np.float32(-0.6) * (x_value - 2) + np.float32(-1.3) > 0
    assert 0.2 < passed.mean() < 0.8
    parts, warps = -(-rows // each), -(-channels // 8)
    sums, total, slopes = vectors.room(parts, 2, channels), np.zeros((2, channels)), vectors.room(3, channels)
    passes, dx = cpu.build("batchnorm.cu", ELEMENT_BF16=bf16), elements.room(rows, channels)
    statistics = cpu.build("batchnorm_statistics.cu")
    seen, sizes = i32(relu), [i32(rows), i32(channels), i32(each)]
    launch(passes, "batchnorm_sums", dy, x, kept, seen, sums, *sizes, grid=(across(channels), parts))
    arguments = [sums, kept, dw, db, total, i32(channels), i32(parts), i32(0), i32(1)]
    launch(statistics, "batchnorm_gradients", *arguments, grid=warps)
    slope = dy_value * passed if relu else dy_value
    by_bias, z = slope.sum(axis=0), 0.7 * (x_value - 2 + 0.5)
    by_weight = (slope * z).sum(axis=0)
    vectors.check(db, db_value + by_bias, scale=rows)
    vectors.check(dw, by_weight, scale=rows)
    np.testing.assert_allclose(total, [by_bias, by_weight], rtol=1e-5, atol=1e-4)
    launch(statistics, "batchnorm_slopes", total, kept, w, slopes, i32(channels), np.array(3.0 * rows), grid=warps)
    launch(passes, "batchnorm_dx", dy, x, kept, seen, slopes, dx, *sizes[:2])
    expected = w_value * 0.7 * (slope - by_bias / (3 * rows) - z * by_weight / (3 * rows))
    elements.check(dx, expected, scale=8)

    arguments = [sums, kept, w, dw, db, slopes, i32(rows), i32(channels), i32(parts), i32(0), i32(0)]
    launch(statistics, "batchnorm_slopes_of_sums", *arguments, grid=warps)
    vectors.check(np.stack([dw, db]), np.stack([by_weight, by_bias]), scale=rows)
    launch(passes, "batchnorm_dx", dy, x, kept, seen, slopes, dx, *sizes[:2])
    elements.check(dx, w_value * 0.7 * (slope - by_bias / rows - z * by_weight / rows), scale=8)


@SIZES
def test_sums_mask_what_both_terms_get(bf16, rows, channels, each):
    """At the end of a residual block dy becomes its part where y is above 0, to the bit; sums are those of it."""
    elements, vectors = Elements(bf16), Elements(0, seed=1)
    (dy, dy_value), (x, x_value), (y, y_value) = (elements.draw(rows, channels) for _ in range(3))
    y[y_value < 0.2] = 0
    parts = -(-rows // each)
    sums, sizes = vectors.room(parts, 2, channels), [i32(rows), i32(channels), i32(each)]
    passes, grid = cpu.build("batchnorm.cu", ELEMENT_BF16=bf16), (across(channels), parts)
    launch(passes, "batchnorm_sums_residual", dy, x, y, draw_kept(channels), sums, *sizes, grid=grid)
    masked = np.where(y_value >= 0.2, dy_value, 0)
    np.testing.assert_array_equal(elements.value(dy), masked)
    elements.check_guards()
    expected = np.array([masked.sum(axis=0), (masked * (x_value - 2)).sum(axis=0)])
    vectors.check(sums.sum(axis=0, dtype=np.float64), expected, scale=rows)
