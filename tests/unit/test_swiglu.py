import numpy as np
import pytest

from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.layers import SwiGLU
from mpitrain.ops import OPS
from tests.cpu_kernels import levels, near, use
from tests.gradients import check_layer


@pytest.mark.parametrize("shape", [(5, 6), (0, 4), (2, 3, 5, 2), (40,)])
def test_gradients(shape):
    check_layer(SwiGLU(), 2 * np.random.default_rng(1).standard_normal(shape))


def test_the_first_half_is_the_gate():
    x = np.array([[1.0, -2, 3, 5]])
    expected = [[3 / (1 + np.exp(-1)), -10 / (1 + np.exp(2))]]
    np.testing.assert_allclose(SwiGLU().forward(x, Context(dtype=np.float64)), expected, rtol=1e-12)


@levels
def test_in_c(kernels, level, threads):
    use(level, threads)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        m, c = int(rng.integers(0, 60)), int(rng.integers(1, 90))
        x, dy = rng.standard_normal((m, 2 * c), np.float32) * 5, rng.standard_normal((m, c), np.float32)
        y, dx, y2, dx2 = np.empty_like(dy), np.empty_like(x), np.empty(dy.shape), np.empty(x.shape)
        assert kernels.swiglu(x, y)
        assert kernels.swiglu_dx(x, dy, dx)
        OPS["swiglu"].numpy(x.astype(np.float64), y2)
        OPS["swiglu_dx"].numpy(x.astype(np.float64), dy.astype(np.float64), dx2)
        near(y, y2, 3e-6, seed)
        near(dx, dx2, 3e-6, seed)
    assert not kernels.swiglu(x[:, 1:].copy(), y)
    assert not kernels.swiglu_dx(x, y.astype(np.float64), dx)


def test_what_is_no_number(kernels):
    """A closed gate gives 0 for any finite number; NaN stays NaN."""
    y = np.empty((1, 4), np.float32)
    x = np.array([[-200, 200, np.nan, 3.0, -1e30, 1, 1, np.nan]], np.float32)
    assert kernels.swiglu(x, y)
    np.testing.assert_array_equal(y, [[0, 200, np.nan, np.nan]])


def test_an_odd_size_is_refused():
    with pytest.raises(UserError, match=r"even last dimension, not \(2, 3\)"):
        SwiGLU().forward(np.ones((2, 3), np.float32), Context())
