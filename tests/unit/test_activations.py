import math

import numpy as np
import pytest

from mpitrain.context import Context
from mpitrain.layers import GELU, ReLU, Sigmoid, SiLU, Tanh
from tests.gradients import check_layer

LAYERS = [ReLU, Tanh, Sigmoid, SiLU, GELU, lambda: GELU(approximate=True)]

EXACT = {
    ReLU: lambda v: max(v, 0.0),
    Tanh: math.tanh,
    Sigmoid: lambda v: 1 / (1 + math.exp(-v)),
    SiLU: lambda v: v / (1 + math.exp(-v)),
    GELU: lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2,
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("shape", [(5, 3), (0, 3), (2, 3, 5, 1), (1, 20_000)])
def test_gradients(layer, shape):
    check_layer(layer(), 3 * np.random.default_rng(1).standard_normal(shape))


@pytest.mark.parametrize("layer", EXACT)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-8), (np.float32, 1e-6)])
def test_against_the_formula(layer, dtype, tolerance):
    x = np.linspace(-12, 12, 4001).astype(dtype)
    y = layer().forward(x, Context(dtype=dtype))
    assert y.dtype == dtype
    np.testing.assert_allclose(y, [EXACT[layer](float(v)) for v in x], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("layer", LAYERS)
def test_large_arguments_stay_finite(layer):
    x = np.array([-1e4, -100, 100, 1e4], np.float32)
    ctx = Context()
    layer = layer()
    with np.errstate(all="raise", under="ignore"):
        y = layer.forward(x, ctx)
        dx = layer.backward(np.ones_like(x), ctx)
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()


def test_the_tanh_form_of_gelu_is_near():
    x = np.linspace(-6, 6, 1001)
    exact, near = (GELU(approximate).forward(x, Context(dtype=np.float64)) for approximate in (False, True))
    assert 1e-5 < np.abs(exact - near).max() < 5e-4


@pytest.mark.parametrize("layer", LAYERS)
def test_x_is_not_changed(layer):
    x = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
    kept = x.copy()
    layer().forward(x, Context())
    np.testing.assert_array_equal(x, kept)
