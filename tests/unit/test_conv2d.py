import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.layers import Conv2d
from mpitrain.ops.conv2d import plan_conv2d
from mpitrain.ops.conv2d_depthwise import Depthwise
from mpitrain.ops.conv2d_im2col import Im2col
from mpitrain.ops.conv2d_winograd import Winograd
from tests.gradients import check_layer
from tests.naive import naive_conv2d

CASES = {
    "plain": ((2, 5, 6, 3), {"out_channels": 4, "kernel_size": 3}),
    "first of lenet": ((2, 9, 12, 3), {"out_channels": 6, "kernel_size": 5}),
    "padded": ((2, 5, 6, 3), {"out_channels": 2, "kernel_size": 3, "padding": 1}),
    "padded more than the kernel": ((1, 2, 3, 2), {"out_channels": 2, "kernel_size": 2, "padding": 3}),
    "strided": ((2, 8, 7, 2), {"out_channels": 3, "kernel_size": 3, "stride": 2, "padding": 1}),
    "stride above the kernel": ((2, 8, 7, 2), {"out_channels": 3, "kernel_size": 2, "stride": 3}),
    "dilated": ((1, 8, 9, 2), {"out_channels": 3, "kernel_size": 3, "dilation": (2, 3), "padding": 2}),
    "uneven": ((2, 6, 7, 2), {"out_channels": 3, "kernel_size": (2, 3), "stride": (2, 1), "padding": (0, 1)}),
    "grouped": ((2, 5, 6, 4), {"out_channels": 6, "kernel_size": 3, "groups": 2, "stride": 2, "padding": 1}),
    "depthwise": ((2, 5, 6, 4), {"out_channels": 4, "kernel_size": 3, "groups": 4, "padding": 1}),
    "depthwise, strided": ((2, 6, 7, 3), {"out_channels": 3, "kernel_size": 3, "groups": 3, "stride": 2}),
    "depthwise with a multiplier": ((2, 5, 6, 3), {"out_channels": 6, "kernel_size": 3, "groups": 3}),
    "1x1": ((2, 3, 4, 3), {"out_channels": 5, "kernel_size": 1}),
    "1x1, strided": ((2, 3, 4, 3), {"out_channels": 5, "kernel_size": 1, "stride": 2}),
    "no bias": ((2, 4, 4, 2), {"out_channels": 3, "kernel_size": 3, "bias": False}),
    "no samples": ((0, 5, 6, 3), {"out_channels": 4, "kernel_size": 3, "padding": 1}),
    "no samples, grouped": ((0, 5, 6, 4), {"out_channels": 4, "kernel_size": 3, "groups": 2}),
    "no samples, depthwise": ((0, 5, 6, 4), {"out_channels": 4, "kernel_size": 3, "groups": 4}),
    "many channels": ((2, 5, 7, 40), {"out_channels": 36, "kernel_size": 3, "padding": 1}),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients(name):
    shape, options = CASES[name]
    check_layer(Conv2d(shape[3], **options), np.random.default_rng(1).standard_normal(shape))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_forward_against_loops(name, dtype):
    shape, options = CASES[name]
    layer = Conv2d(shape[3], **options)
    Arena(layer.named_parameters(), dtype=dtype)
    x = np.random.default_rng(2).standard_normal(shape).astype(dtype)
    y = layer.forward(x, Context(dtype=dtype))
    bias = None if layer.bias is None else layer.bias.data
    assert y.dtype == dtype
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    expected = naive_conv2d(x, layer.weight.data, bias, layer.window, layer.groups)
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("channels", "options", "way"),
    [
        (16, {"out_channels": 16, "kernel_size": 3, "padding": 1}, Im2col),
        (64, {"out_channels": 64, "kernel_size": 3, "padding": 1}, Winograd),
        (64, {"out_channels": 64, "kernel_size": 3, "padding": 1, "stride": 2}, Im2col),
        (64, {"out_channels": 64, "kernel_size": 3, "padding": 1, "groups": 64}, Depthwise),
    ],
)
def test_plans(channels, options, way):
    layer = Conv2d(channels, **options)
    plan = plan_conv2d(layer.window, (16, 16), layer.groups, channels, layer.out_channels)
    assert isinstance(plan.forward_plan, way)
    Arena(layer.named_parameters())
    x = np.random.default_rng(3).standard_normal((2, 16, 16, channels)).astype(np.float32)
    y = layer.forward(x, Context())
    plain, expected = Im2col(layer.window, (16, 16), layer.groups, images=2), np.empty(y.shape)
    plain.run(*(a.astype(np.float64) for a in (x, layer.weight.data, layer.bias.data)), expected)
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_no_dx_for_the_first_layer():
    layer = Conv2d(2, 3, 3)
    layer.needs_dx = False
    check_layer(layer, np.random.default_rng(1).standard_normal((2, 4, 4, 2)))


def test_buffers_of_a_large_batch_serve_a_small_one():
    layer, ctx = Conv2d(2, 3, 3, padding=1), Context()
    Arena(layer.named_parameters())
    x = np.random.default_rng(1).standard_normal((5, 6, 6, 2)).astype(np.float32)
    whole = layer.forward(x, ctx).copy()
    np.testing.assert_allclose(layer.forward(x[:2], ctx), whole[:2], rtol=1e-6, atol=1e-6)


def test_channels_must_divide_into_groups():
    with pytest.raises(UserError, match="3 input and 4 output channels do not divide into 2 groups"):
        Conv2d(3, 4, 3, groups=2)


def test_kernel_must_fit():
    layer = Conv2d(1, 1, 5)
    Arena(layer.named_parameters())
    with pytest.raises(UserError, match="5x5 pixels does not fit into an image of 4x6"):
        layer.forward(np.zeros((1, 4, 6, 1), np.float32), Context())


def test_channels_must_match():
    layer = Conv2d(3, 1, 1)
    with pytest.raises(UserError, match="3 channels"):
        layer.forward(np.zeros((1, 4, 6, 1), np.float32), Context())


@pytest.mark.parametrize("options", [{"kernel_size": 0}, {"kernel_size": (1, 2, 3)}, {"kernel_size": 1, "padding": -1}])
def test_sizes_must_make_sense(options):
    with pytest.raises(UserError, match="one or two integers"):
        Conv2d(1, 1, **options)
