"""Large products in C: against NumPy in float64, and the bits of the same products row by row."""

import numpy as np
import pytest

from tests.cpu_kernels import double, draws, levels, near, use

# rows, inputs, outputs: whole blocks, some numbers more, one number less, several depths, narrow and wide last panels
SIZES = [
    (64, 1536, 512),
    (131, 385, 517),
    (777, 129, 1025),
    (1537, 200, 65),
    (200, 1600, 33),
    (383, 769, 48),
    (64, 2048, 64),
]


@levels
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_products(kernels, level, threads, size):
    use(level, threads)
    n, i, o = size
    _, normal, empty = draws(n)
    x, w, b, dy, dw = normal(n, i), normal(i, o), normal(o), normal(n, o), normal(i, o)
    x2, w2, b2, dy2, dw2 = double(x, w, b, dy, dw)
    y, dx = empty(n, o), empty(n, i)
    for relu in (False, True):
        for bias, bias2 in ((b, b2), (None, 0)):
            assert kernels.linear(x, w, bias, y, relu)
            near(y, np.maximum(x2 @ w2 + bias2, 0) if relu else x2 @ w2 + bias2, 3e-5, size)
    assert kernels.linear_dx(dy, w, dx)
    near(dx, dy2 @ w2.T, 3e-5, size)
    for accumulate in (True, False):
        first = dw2 if accumulate else 0
        assert kernels.linear_dw(x, dy, dw, accumulate)
        near(dw, first + x2.T @ dy2, 3e-5, size)


@levels
def test_the_bits_of_few_rows_at_a_time(kernels, level, threads):
    """Each number is a sum in the order of k, so it is the same in blocks, in parts, and on any number of threads."""
    use(level, threads)
    n, i, o = 200, 1200, 160
    _, normal, empty = draws(7)
    x, w, b = normal(n, i), normal(i, o), normal(o)
    whole, parts = empty(n, o), empty(n, o)
    assert kernels.linear(x, w, b, whole, True)
    for first in range(0, n, 40):  # too few rows for blocks
        assert kernels.linear(x[first : first + 40], w, b, parts[first : first + 40], True)
    np.testing.assert_array_equal(whole, parts)
