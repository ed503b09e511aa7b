import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.layers import Conv2d, ConvTranspose2d
from tests.gradients import check_layer

CASES = {
    "doubles": ((2, 3, 4, 3), {"out_channels": 2, "kernel_size": 2}),
    "one pixel": ((2, 1, 1, 3), {"out_channels": 2, "kernel_size": 2}),
    "overlapping": ((2, 3, 4, 2), {"out_channels": 3, "kernel_size": 3, "stride": 2, "padding": 1}),
    "gaps": ((1, 3, 4, 2), {"out_channels": 3, "kernel_size": 2, "stride": 3}),
    "uneven": ((2, 3, 4, 2), {"out_channels": 3, "kernel_size": (2, 5), "stride": (2, 1), "padding": (0, 2)}),
    "no bias": ((2, 3, 4, 2), {"out_channels": 3, "kernel_size": 2, "bias": False}),
    "no samples": ((0, 3, 4, 2), {"out_channels": 3, "kernel_size": 2}),
    "many channels": ((2, 4, 5, 40), {"out_channels": 36, "kernel_size": 2}),
}


def naive(x, w, b, stride, padding):
    """Return y by loops: each pixel of x adds its kernel to y."""
    n, height, width, _ = x.shape
    kh, kw, outputs, _ = w.shape
    y = np.zeros((n, (height - 1) * stride[0] + kh, (width - 1) * stride[1] + kw, outputs))
    for i, j, k, m in np.ndindex(height, width, kh, kw):
        y[:, i * stride[0] + k, j * stride[1] + m] += x[:, i, j].astype(np.float64) @ w[k, m].T
    y = y[:, padding[0] : y.shape[1] - padding[0], padding[1] : y.shape[2] - padding[1]]
    return y if b is None else y + b


@pytest.mark.parametrize("name", CASES)
def test_gradients(name):
    shape, options = CASES[name]
    check_layer(ConvTranspose2d(shape[3], **options), np.random.default_rng(1).standard_normal(shape))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_forward_against_loops(name, dtype):
    shape, options = CASES[name]
    layer = ConvTranspose2d(shape[3], **options)
    Arena(layer.named_parameters(), dtype=dtype)
    x = np.random.default_rng(2).standard_normal(shape).astype(dtype)
    y = layer.forward(x, Context(dtype=dtype))
    assert y.dtype == dtype
    bias = None if layer.bias is None else layer.bias.data
    expected = naive(x, layer.weight.data, bias, layer.window.stride, layer.window.padding)
    assert y.shape == (len(x), *layer.output(shape[1:3]), layer.out_channels)
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_adjoint_of_the_convolution(name):
    """<conv y, x> = <y, transposed x> with the same weights."""
    shape, options = CASES[name]
    layer = ConvTranspose2d(shape[3], **{**options, "bias": False})
    window, rng = layer.window, np.random.default_rng(3)
    conv = Conv2d(layer.out_channels, shape[3], window.kernel, window.stride, window.padding, bias=False)
    Arena(layer.named_parameters(), dtype=np.float64)
    Arena(conv.named_parameters(), dtype=np.float64)
    conv.weight.data[...] = layer.weight.data
    x, ctx = rng.standard_normal(shape), Context(dtype=np.float64)
    y = rng.standard_normal((len(x), *layer.output(shape[1:3]), layer.out_channels))
    one, other = np.vdot(conv.forward(y, ctx), x), np.vdot(y, layer.forward(x, ctx))
    assert abs(one - other) <= 1e-12 * np.linalg.norm(x) * np.linalg.norm(y)


def test_variance_of_y_is_that_of_a_convolution():
    """Each pixel of y depends on C pixels of x where the kernel is as wide as the stride."""
    assert ConvTranspose2d(12, 4, 2).weight.init(np.random.default_rng(0), (10_000,)).std() == pytest.approx(
        1 / 6, 0.05
    )


def test_bad_input():
    layer = ConvTranspose2d(3, 2, 2)
    Arena(layer.named_parameters())
    with pytest.raises(
        UserError, match=r"ConvTranspose2d of 3 channels expects images \(N, H, W, C\), not \(1, 4, 4, 2\)"
    ):
        layer.forward(np.zeros((1, 4, 4, 2), np.float32), Context())
    cut = ConvTranspose2d(3, 2, 2, padding=1)
    Arena(cut.named_parameters())
    with pytest.raises(UserError, match="makes images of 0x2 from 1x2"):
        cut.forward(np.zeros((1, 1, 2, 3), np.float32), Context())
    with pytest.raises(UserError, match="kernel_size must be one or two integers of at least 1"):
        ConvTranspose2d(3, 2, 0)
