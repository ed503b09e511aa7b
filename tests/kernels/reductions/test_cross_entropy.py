"""Cross-entropy with softmax against NumPy in float64: losses, gradients, ties and wrong targets."""

import numpy as np
import pytest

from mpitrain.ops import OPS
from tests.kernels import cpu
from tests.kernels.arrays import NULL, Elements, f32, i32, i64, launch

pytestmark = [cpu.needs_gxx, pytest.mark.parametrize("bf16", [0, 1])]


@pytest.mark.parametrize(
    ("m", "k", "warps", "gap"),
    [
        (1, 1, 1, 0),
        (19, 10, 1, 0),
        (9, 1000, 1, 0),
        (8, 33, 1, 7),
        (3, 33, 16, 0),
        (3, 16389, 16, 2),
        (2, 16400, 16, 0),
        (2, 50257, 16, 47),
    ],
)
@pytest.mark.parametrize("smoothing", [0, 0.1])
@pytest.mark.parametrize("how", ["in place", "kept", "apart", "weighted"])
def test_softmax_cross_entropy(bf16, m, k, warps, gap, smoothing, how):
    """By a warp a row or a block, also where rows are apart and begin anywhere, kept in shared memory or read again."""
    if k > 10000 and smoothing and how != "kept":
        return
    elements = Elements(bf16, seed=m)
    rows, _ = elements.draw(m, k + gap, scale=20)
    x, before = rows[:, :k], rows[:, k:].copy()
    x_value = elements.value(x)
    targets, counted = elements.rng.integers(0, k, m), elements.rng.integers(0, 4, m) > 0
    targets[0] = x_value[0].argmax()
    given, totals = np.where(counted, targets, -7), elements.room(m, 3, dtype=np.float32)
    dx = elements.room(m, k + gap, aligned=m != 8) if how == "apart" else rows
    kernels = cpu.build("softmax_cross_entropy.cu", ELEMENT_BF16=bf16, ROW_WARPS=warps)
    weights = elements.rng.uniform(0, 3, k).astype(np.float32) if how == "weighted" else NULL
    arguments = [rows, given, i64(-7), f32(smoothing), weights, totals, dx, *map(i32, (m, k, k + gap))]
    shared = k * x.itemsize if how == "kept" and warps > 1 else 0
    sizes = {"grid": (m if warps > 1 else -(-m // 8), 1, 1), "block": (512 if warps > 1 else 256, 1, 1)}
    launched = {"arguments": [*arguments, i32(shared > 0)], "shared_bytes": shared, "seed": m}
    kernels.launch("softmax_cross_entropy", **sizes, **launched)
    expected, sums = np.empty((m, k)), np.empty((m, 1))
    expected_losses = OPS["softmax_cross_entropy"].numpy(x_value, targets, smoothing, expected, sums)
    OPS["softmax_cross_entropy_dx"].numpy(expected, sums, targets, smoothing, counted)
    if how == "weighted":
        expected_losses, expected = expected_losses * weights[targets], expected * weights[targets, None]
    elements.check(totals[:, 1], expected_losses * counted, scale=20)
    elements.check(dx[:, :k], expected, scale=10)
    if how != "apart":
        np.testing.assert_array_equal(rows[:, k:], before)
    np.testing.assert_array_equal(totals[:, 0], counted)
    np.testing.assert_array_equal(totals[:, 2], (x_value.argmax(axis=1) == targets) & counted)


@pytest.mark.parametrize("warps", [1, 16])
def test_the_first_of_equal_logits_is_the_largest(bf16, warps):
    """A target counts as right if no logit before it is as large; without dlogits only the sums are written."""
    elements, k = Elements(bf16), 9000
    x, _ = elements.draw(4, k)
    x[:, [17, 4000, 8999]] = 0x41A0 if bf16 else 20  # the bits of 20
    totals, given = elements.room(4, 3, dtype=np.float32), np.array([17, 4000, 8999, 5])
    kernels = cpu.build("softmax_cross_entropy.cu", ELEMENT_BF16=bf16, ROW_WARPS=warps)
    arguments = [x, given, i64(-7), f32(0), NULL, totals, NULL, *map(i32, (4, k, k, 0))]
    sizes = {"grid": (4 if warps > 1 else 1, 1, 1), "block": (512 if warps > 1 else 256, 1, 1)}
    kernels.launch("softmax_cross_entropy", **sizes, arguments=arguments)
    np.testing.assert_array_equal(totals[:, 2], [1, 0, 0, 0])


def test_targets_outside_make_their_rows_nan(bf16):
    elements = Elements(bf16)
    x, _ = elements.draw(5, 7)
    totals, dx = elements.room(5, 3, dtype=np.float32), elements.room(5, 7)
    given = np.array([0, 7, 3, -1, 2**32 + 1])
    kernels = cpu.build("softmax_cross_entropy.cu", ELEMENT_BF16=bf16)
    sizes = map(i32, (5, 7, 7, 0))
    launch(kernels, "softmax_cross_entropy", x, given, i64(-100), f32(0), NULL, totals, dx, *sizes, grid=1)
    outside = np.array([False, True, False, True, True])
    np.testing.assert_array_equal(np.isnan(totals[:, 1]), outside)
    np.testing.assert_array_equal(np.isnan(elements.value(dx)), np.repeat(outside[:, None], 7, axis=1))
    np.testing.assert_array_equal(totals[:, 0], 1)
