"""Large products in C, in blocks: the numbers of float64, and the bits of products without blocks."""

import numpy as np
import pytest

from mpitrain.ops import OPS
from tests.cpu_kernels import levels, use

SHAPES = [(60, 401, 403), (300, 385, 801), (49, 2000, 81), (700, 161, 1000), (48, 400, 400), (530, 1201, 385)]
FEW = 47  # rows of a product that is not cut into blocks


def arrays(rows, inputs, outputs):
    rng = np.random.default_rng(rows)
    shapes = (rows, inputs), (inputs, outputs), (outputs,), (rows, outputs)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def close(found, expected):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * scale)


@levels
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products(kernels, level, threads, shape):
    use(level, threads)
    x, w, b, dy = arrays(*shape)
    exact = [a.astype(np.float64) for a in (x, w, b, dy)]
    for bias, relu in ((None, 0), (b, 1)):
        y = np.full(dy.shape, np.nan, np.float32)
        assert kernels.linear(x, w, bias, y, relu)
        expected = exact[0] @ exact[1] + (0 if bias is None else exact[2])
        close(y, np.maximum(expected, 0) if relu else expected)
    dx = np.full(x.shape, np.nan, np.float32)
    assert kernels.linear_dx(dy, w, dx)
    close(dx, exact[3] @ exact[1].T)
    dw = np.full(w.shape, np.nan, np.float32)
    assert kernels.linear_dw(x, dy, dw, 0)
    close(dw, exact[0].T @ exact[3])
    assert kernels.linear_dw(x, dy, dw, 1)
    close(dw, 2 * exact[0].T @ exact[3])


@levels
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bits_do_not_depend_on_blocks(kernels, level, threads, shape):
    use(level, threads)
    x, w, b, dy = arrays(*shape)
    y, dx = np.empty_like(dy), np.empty_like(x)
    OPS["linear"](x, w, b, y, True)
    OPS["linear_dx"](dy, w, dx)
    for start in range(0, len(x), FEW):
        part = slice(start, start + FEW)
        few, back = np.empty_like(dy[part]), np.empty_like(x[part])
        OPS["linear"](x[part], w, b, few, True)
        OPS["linear_dx"](dy[part], w, back)
        np.testing.assert_array_equal(few, y[part])
        np.testing.assert_array_equal(back, dx[part])
