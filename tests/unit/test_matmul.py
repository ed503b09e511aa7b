import numpy as np
import pytest

from mpitrain.device import CPU
from mpitrain.ops.matmul import SMALL, matmul, matmul_transpose_a, rows_of_a_piece

SHAPES = [(0, 3, 4), (5, 3, 4), (6000, 30, 20), (4099, 40, 40), (2, 2048, 75, 8), (3, 1, 2, 5)]


@pytest.fixture(params=[1, 2], autouse=True)
def threads(request, monkeypatch):
    """With one thread products are cut, with more they are not."""
    monkeypatch.setattr(CPU, "blas_threads", request.param)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("transposed", [False, True])
def test_matmul(shape, transposed):
    rng = np.random.default_rng(1)
    *stack, rows, depth, width = shape
    a = rng.standard_normal((*stack, rows, depth))
    b = rng.standard_normal((*stack, depth, width))
    if transposed:
        b = np.ascontiguousarray(b.swapaxes(-1, -2)).swapaxes(-1, -2)
    out = np.empty((*stack, rows, width))
    matmul(a, b, out)
    np.testing.assert_allclose(out, a @ b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_matmul_transpose_a(shape):
    rng = np.random.default_rng(1)
    *stack, rows, depth, width = shape
    a, b = rng.standard_normal((*stack, rows, depth)), rng.standard_normal((*stack, rows, width))
    out = np.empty((*stack, depth, width))
    matmul_transpose_a(a, b, out)
    np.testing.assert_allclose(out, a.swapaxes(-1, -2) @ b, rtol=1e-9, atol=1e-9)


def test_pieces():
    assert rows_of_a_piece(50176, 75 * 6, least=4) == 1792
    assert 50176 % 1792 == 0
    assert 1792 * 75 * 6 < 100**3
    assert rows_of_a_piece(64, 10, least=4) == 64, "small enough as it is"
    assert rows_of_a_piece(64, SMALL, least=4) == 64, "pieces would be too thin"
    assert rows_of_a_piece(4099, 2000, least=4) == 4099, "a prime has no pieces"
