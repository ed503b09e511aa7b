import numpy as np
import pytest

from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.layers import SwiGLU
from tests.gradients import check_layer


@pytest.mark.parametrize("shape", [(5, 6), (0, 4), (2, 3, 5, 2), (40,)])
def test_gradients(shape):
    check_layer(SwiGLU(), 2 * np.random.default_rng(1).standard_normal(shape))


def test_the_first_half_is_the_gate():
    x = np.array([[1.0, -2, 3, 5]])
    expected = [[3 / (1 + np.exp(-1)), -10 / (1 + np.exp(2))]]
    np.testing.assert_allclose(SwiGLU().forward(x, Context(dtype=np.float64)), expected, rtol=1e-12)


def test_what_is_no_number(kernels):
    """A closed gate gives 0 for any finite number; NaN stays NaN."""
    y = np.empty((1, 4), np.float32)
    x = np.array([[-200, 200, np.nan, 3.0, -1e30, 1, 1, np.nan]], np.float32)
    assert kernels.swiglu(x, y)
    np.testing.assert_array_equal(y, [[0, 200, np.nan, np.nan]])


def test_an_odd_size_is_refused():
    with pytest.raises(UserError, match=r"even last dimension, not \(2, 3\)"):
        SwiGLU().forward(np.ones((2, 3), np.float32), Context())
