import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.layers import LayerNorm
from tests.gradients import check_layer


@pytest.mark.parametrize("shape", [(5, 3), (1, 7), (0, 3), (2, 4, 6)])
def test_gradients(shape):
    check_layer(LayerNorm(shape[-1]), 2 + 3 * np.random.default_rng(1).standard_normal(shape), tolerance=3e-6)


def test_rows_have_mean_0_and_deviation_1():
    layer = LayerNorm(50)
    Arena(layer.named_parameters())
    y = layer.forward(7 + 3 * np.random.default_rng(0).standard_normal((4, 5, 50)).astype(np.float32), Context())
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(-1), 1, atol=1e-4)
