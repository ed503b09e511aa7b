import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.layers import RMSNorm
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
