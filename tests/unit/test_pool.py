import numpy as np
import pytest

from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.layers import AvgPool2d, GlobalAvgPool, MaxPool2d, ReLU, Sequential
from tests.gradients import check_layer
from tests.naive import naive_pool

CASES = {
    "2x2": ((2, 4, 6, 3), {"kernel_size": 2}),
    "2x2, ragged": ((2, 5, 7, 3), {"kernel_size": 2}),
    "3x3": ((2, 6, 9, 2), {"kernel_size": 3}),
    "overlapping": ((2, 7, 8, 3), {"kernel_size": 3, "stride": 2}),
    "overlapping, padded": ((2, 7, 8, 3), {"kernel_size": 3, "stride": 2, "padding": 1}),
    "gaps": ((2, 8, 7, 2), {"kernel_size": 2, "stride": 3}),
    "uneven": ((2, 5, 8, 2), {"kernel_size": (1, 3), "stride": (2, 1), "padding": (0, 1)}),
    "no samples": ((0, 4, 4, 2), {"kernel_size": 2}),
    "no samples, padded": ((0, 4, 4, 2), {"kernel_size": 2, "padding": 1}),
    "many channels": ((2, 4, 6, 33), {"kernel_size": 2}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("layer", [MaxPool2d, AvgPool2d])
def test_pool(layer, name):
    shape, options = CASES[name]
    x = np.random.default_rng(1).standard_normal(shape)
    pool = layer(**options)
    check_layer(pool, x)
    y = pool.forward(x, Context(dtype=np.float64))
    np.testing.assert_allclose(y, naive_pool(x, pool.window, layer is MaxPool2d), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_a_relu_is_part_of_it(name):
    shape, options = CASES[name]
    x = np.random.default_rng(2).standard_normal(shape) - 1
    pool = MaxPool2d(**options)
    model = Sequential(pool, ReLU())
    check_layer(model, x)
    expected = np.maximum(naive_pool(x, pool.window, True), 0)
    for training in (True, False):
        np.testing.assert_array_equal(model.forward(x, Context(dtype=np.float64, training=training)), expected)


def test_where_0_is_not_beaten_no_pixel_gets_a_gradient():
    pool, ctx = Sequential(MaxPool2d(2), ReLU()), Context()
    pool.forward(np.array([0, -1, -2, -3], np.float32).reshape(1, 2, 2, 1), ctx)
    np.testing.assert_array_equal(pool.backward(np.ones((1, 1, 1, 1), np.float32), ctx), 0)


@pytest.mark.parametrize("options", [{"kernel_size": 2}, {"kernel_size": 2, "padding": 1}])
def test_gradient_goes_to_the_first_maximum_only(options):
    pool, ctx = MaxPool2d(**options), Context()
    y = pool.forward(np.ones((1, 4, 4, 1), np.float32), ctx)
    dx = pool.backward(np.ones_like(y), ctx)
    assert dx.sum() == y.size
    assert dx[0, 0, 0, 0] == 1
    assert set(np.unique(dx)) <= {0, 1}


def test_maxima_that_are_all_negative_beat_the_padding():
    y = MaxPool2d(3, 2, 1).forward(np.full((1, 4, 4, 1), -5, np.float32), Context())
    np.testing.assert_array_equal(y, -5)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 1, 1), (0, 3, 4, 5)])
def test_global_average(shape):
    x = np.random.default_rng(1).standard_normal(shape)
    check_layer(GlobalAvgPool(), x)
    y = GlobalAvgPool().forward(x, Context(dtype=np.float64))
    np.testing.assert_allclose(y, x.mean(axis=(1, 2)), rtol=1e-12, atol=1e-12)


def test_padding_is_at_most_half_the_kernel():
    with pytest.raises(UserError, match="at most half"):
        MaxPool2d(2, padding=2)


def test_window_must_fit():
    with pytest.raises(UserError, match="does not fit"):
        AvgPool2d(4).forward(np.zeros((1, 3, 5, 1), np.float32), Context())
