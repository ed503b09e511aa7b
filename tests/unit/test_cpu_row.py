"""Linear maps of one row in C: the numbers of float64, and the bits of the product of many rows."""

import numpy as np
import pytest

from tests.cpu_kernels import draws, levels, near, use

SIZES = [(1, 1), (7, 5), (8, 64), (17, 65), (64, 16), (65, 47), (300, 33), (129, 400)]


@levels
@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_one_row(kernels, level, threads, inputs, outputs):
    use(level, threads)
    _, normal, nothing = draws(inputs)
    x, w, b, dy = normal(3, inputs), normal(inputs, outputs), normal(outputs), normal(3, outputs)
    x1, w1, b1, dy1 = (each.astype(np.float64) for each in (x, w, b, dy))
    for bias, relu in ((None, 0), (b, 0), (b, 1)):
        y, all_y = nothing(1, outputs), nothing(3, outputs)
        assert kernels.linear(x[1:2], w, bias, y, relu)
        expected = x1[1:2] @ w1 + (0 if bias is None else b1)
        near(y, np.maximum(expected, 0) if relu else expected, 1e-5)
        assert kernels.linear(x, w, bias, all_y, relu)
        np.testing.assert_array_equal(y, all_y[1:2])
    dx, all_dx = nothing(1, inputs), nothing(3, inputs)
    assert kernels.linear_dx(dy[1:2], w, dx)
    near(dx, dy1[1:2] @ w1.T, 1e-5)
    assert kernels.linear_dx(dy, w, all_dx)
    np.testing.assert_array_equal(dx, all_dx[1:2])


@levels
def test_what_is_no_number_stays_one(kernels, level, threads):
    use(level, threads)
    x, w, y = np.array([[1, np.nan]], np.float32), np.ones((2, 9), np.float32), np.zeros((1, 9), np.float32)
    assert kernels.linear(x, w, None, y, 1)
    assert np.isnan(y).all()
    dx = np.zeros((1, 2), np.float32)
    assert kernels.linear_dx(y, w, dx)
    assert np.isnan(dx).all()
