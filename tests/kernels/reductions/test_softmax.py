"""Softmax of rows and of attention's scores against NumPy in float64."""

import numpy as np
import pytest

from mpitrain.ops import OPS
from tests.kernels import cpu
from tests.kernels.arrays import TOLERANCE, Elements, i32, launch
from tests.kernels.reductions import softmax

pytestmark = [cpu.needs_gxx, pytest.mark.parametrize("bf16", [0, 1])]


@pytest.mark.parametrize(
    ("m", "k", "warps"), [(1, 1, 1), (19, 10, 1), (9, 1000, 1), (8, 33, 1), (3, 33, 8), (2, 2051, 8)]
)
@pytest.mark.parametrize("in_place", [False, True])
def test_softmax(bf16, m, k, warps, in_place):
    """By a warp a row, or a block."""
    elements = Elements(bf16, seed=m)
    (x, x_value), (dy, dy_value) = elements.draw(m, k, scale=10), elements.draw(m, k)
    y, dx = (x, dy) if in_place else (elements.room(m, k), elements.room(m, k))
    kernels, grid = cpu.build("softmax.cu", ELEMENT_BF16=bf16, ROW_WARPS=warps), -(-m * warps // 8)
    launch(kernels, "softmax_forward", x, y, i32(m), i32(k), grid=grid)
    expected, expected_dx = np.empty((m, k)), np.empty((m, k))
    OPS["softmax"].numpy(x_value, expected)
    elements.check(y, expected, scale=2)
    launch(kernels, "softmax_dx", y, dy, dx, i32(m), i32(k), grid=grid)
    OPS["softmax_dx"].numpy(elements.value(y), dy_value, expected_dx)
    elements.check(dx, expected_dx, scale=4)


@pytest.mark.parametrize("warps", [1, 8])
@pytest.mark.parametrize("case", softmax.CASES)
def test_softmax_of_scores(bf16, case, warps):
    """As attention asks for it: some keys are hidden, rows are apart, and statistics are those of a part."""
    found = softmax.run(
        cpu.build("softmax.cu", ELEMENT_BF16=bf16, ROW_WARPS=warps, DROPS=1), case, bf16, seed=case.keys
    )
    for (mine, expected), scale in zip(found, (2, 10, 10, 4), strict=True):
        tolerance = scale * TOLERANCE[bf16]
        np.testing.assert_allclose(mine, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("warps", [1, 8])
def test_softmax_of_what_is_no_number(bf16, warps):
    """NaN and infinity make their row NaN; -infinity counts for nothing."""
    elements = Elements(bf16)
    x, _ = elements.draw(5, 300)
    kernels, wide = cpu.build("softmax.cu", ELEMENT_BF16=bf16, ROW_WARPS=warps), elements.value(x)
    wide[1, 299], wide[2, 130], wide[3, 7], wide[4] = np.nan, np.inf, -np.inf, -np.inf
    x[...] = (np.float32(wide).view(np.uint32) >> 16).astype(np.uint16) if bf16 else wide
    launch(kernels, "softmax_forward", x, x, i32(5), i32(300), grid=-(-5 * warps // 8))
    found = elements.value(x)
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), [False, True, True, False, True])
    np.testing.assert_allclose(found[[0, 3]].sum(axis=1), 1, rtol=1e-2)
    assert found[3, 7] == 0
