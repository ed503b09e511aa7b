import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.layers import RMSNorm
from mpitrain.ops import OPS
from mpitrain.ops.gradient import Gradient
from tests.cpu_kernels import double, draws, levels, near, use
from tests.gradients import check_layer


@pytest.mark.parametrize("shape", [(5, 3), (0, 3), (2, 3, 5, 4), (7, 1)])
def test_gradients(shape):
    check_layer(RMSNorm(shape[-1]), np.random.default_rng(1).standard_normal(shape))


def test_the_formula():
    layer = RMSNorm(4, eps=0.5)
    Arena(layer.named_parameters(), seed=0, dtype=np.float64)
    layer.weight.data[:] = [1, 2, 3, -1]
    x = np.array([[1.0, -1, 3, 1], [0, 0, 0, 0]])
    expected = [[1 / np.sqrt(3.5), -2 / np.sqrt(3.5), 9 / np.sqrt(3.5), -1 / np.sqrt(3.5)], [0] * 4]
    np.testing.assert_allclose(layer.forward(x, Context(dtype=np.float64)), expected, rtol=1e-12)


def test_the_mean_is_not_taken_away():
    layer, x = RMSNorm(8), np.full((1, 8), 5, np.float32)
    Arena(layer.named_parameters(), seed=0)
    np.testing.assert_allclose(layer.forward(x, Context()), 1, rtol=1e-5)


@levels
def test_in_c(kernels, level, threads):
    use(level, threads)
    for seed in range(30):
        rng, normal, empty = draws(seed)
        m, c = int(rng.integers(0, 300)), int(rng.integers(1, 90))
        x, w, dy = normal(m, c) * 3 + 1, normal(c), normal(m, c)
        r, y, dx, dw = empty(m, 1), empty(m, c), empty(m, c), normal(c)
        assert kernels.rmsnorm(x, w, 1e-5, r, y)
        r2, y2, dx2, dw2 = np.empty((m, 1)), np.empty((m, c)), np.empty((m, c)), dw.astype(np.float64)
        OPS["rmsnorm"].numpy(*double(x, w), 1e-5, r2, y2)
        near(r, r2, 1e-6, seed)
        near(y, y2, 1e-6, seed)
        assert kernels.rmsnorm_backward(dy, x, r, w, dw, dx, True)
        OPS["rmsnorm_backward"].numpy(*double(dy, x, r, w), Gradient(dw2, True), dx2)
        near(dw, dw2, 1e-5, seed)
        near(dx, dx2, 1e-5, seed)
        assert kernels.rmsnorm_backward(dy, x, r, w, dw, dy, False)
        np.testing.assert_array_equal(dy, dx)
    assert not kernels.rmsnorm(x.astype(np.float64), w, 1e-5, r, y)
    assert not kernels.rmsnorm_backward(dy, x, r, w[:-1], dw, dx, False)
