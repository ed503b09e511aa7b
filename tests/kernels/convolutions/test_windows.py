"""Pooling and columns of convolutions (im2col) against NumPy in float64."""

import math

import numpy as np
import pytest

from mpitrain.kernels.divide import divide_record
from mpitrain.ops import OPS
from mpitrain.ops.conv2d import plan_conv2d
from mpitrain.ops.cuda.launch import window_record
from mpitrain.ops.window import Window
from tests.kernels import cpu
from tests.kernels.arrays import NULL, Elements, f32, i32, launch

pytestmark = [cpu.needs_gxx, pytest.mark.parametrize("bf16", [0, 1])]

WINDOWS = [
    (Window((2, 2), (2, 2)), (6, 8)),
    (Window((2, 2), (2, 2)), (7, 5)),  # pixels that fill no window
    (Window((3, 3), (2, 2), (1, 1)), (7, 8)),
    (Window((3, 2), (1, 2), (1, 0)), (5, 6)),
]
CONVOLUTIONS = [
    *WINDOWS,
    (Window((3, 3), (1, 1), (2, 2), (2, 2)), (6, 5)),
    (Window((1, 1)), (4, 3)),
    (Window((1, 1), (3, 2)), (7, 5)),  # most pixels are seen by no output
    (Window((4, 3), (4, 2), (3, 1), (6, 3)), (17, 9)),  # taps that meet a pixel in turn: 4 and 6 share a factor
]
SHAPES = [  # one dimension, as many loops as possible; or all three
    {"grid": 3, "block": 256},
    {"grid": (2, 2, 2), "block": (9, 2)},
]


@pytest.mark.parametrize(("window", "size"), WINDOWS)
@pytest.mark.parametrize(("bits", "relu"), [(8, 0), (8, 1), (16, 1)])
@pytest.mark.parametrize("channels", [5, 8])
@pytest.mark.parametrize("shape_of", SHAPES)
def test_max_pool(bf16, window, size, bits, relu, channels, shape_of):
    elements = Elements(bf16, seed=channels)
    x, x_value = elements.draw(3, *size, channels)
    shape = (3, *window.output(size), channels)
    y, argmax = elements.room(*shape), elements.room(*shape, dtype=np.dtype(f"u{bits // 8}"))
    dx, (dy, dy_value) = elements.room(*x.shape), elements.draw(*shape)
    kernels, by_value = cpu.build("pool.cu", ELEMENT_BF16=bf16, ARGMAX_BITS=bits), window_record(window, x)
    launch(kernels, "max_pool", x, y, argmax, i32(relu), by_value, **shape_of)
    expected, expected_argmax = np.empty(shape), np.empty(shape, np.uint8)
    OPS["max_pool_argmax"].numpy(x_value, window, expected, expected_argmax, bool(relu))
    elements.check(y, expected)
    np.testing.assert_array_equal(argmax, expected_argmax)
    launch(kernels, "max_pool_dx", argmax, dy, dx, by_value, **shape_of)
    expected_dx = np.empty(x.shape)
    OPS["max_pool_dx"].numpy(expected_argmax, dy_value, window, expected_dx)
    elements.check(dx, expected_dx, scale=2)
    y[...] = 0
    launch(kernels, "max_pool", x, y, NULL, i32(relu), by_value, **shape_of)
    elements.check(y, expected)


@pytest.mark.parametrize(("window", "size"), WINDOWS)
@pytest.mark.parametrize("channels", [3, 12])
@pytest.mark.parametrize("shape_of", SHAPES)
def test_mean_pool(bf16, window, size, channels, shape_of):
    elements = Elements(bf16, seed=channels)
    x, x_value = elements.draw(2, *size, channels)
    shape = (2, *window.output(size), channels)
    y, dx, (dy, dy_value) = elements.room(*shape), elements.room(*x.shape), elements.draw(*shape)
    kernels, by_value = cpu.build("pool.cu", ELEMENT_BF16=bf16, ARGMAX_BITS=8), window_record(window, x)
    part = f32(1 / math.prod(window.kernel))
    launch(kernels, "mean_pool", x, y, part, by_value, **shape_of)
    expected, expected_dx = np.empty(shape), np.empty(x.shape)
    OPS["mean_pool"].numpy(x_value, window, expected)
    elements.check(y, expected)
    launch(kernels, "mean_pool_dx", dy, dx, part, by_value, **shape_of)
    OPS["mean_pool_dx"].numpy(dy_value, window, expected_dx)
    elements.check(dx, expected_dx)


def inside(padded, window, size):
    return padded[:, window.padding[0] :, window.padding[1] :][:, : size[0], : size[1]]


@pytest.mark.parametrize("shape_of", SHAPES)
@pytest.mark.parametrize("channels", [7, 8])
def test_global_mean(bf16, channels, shape_of):
    elements = Elements(bf16)
    (x, x_value), (dy, dy_value) = elements.draw(3, 20, channels), elements.draw(3, channels)
    y, dx = elements.room(3, channels), elements.room(3, 20, channels)
    kernels = cpu.build("pool.cu", ELEMENT_BF16=bf16, ARGMAX_BITS=8)
    sizes = [f32(1 / 20), i32(3), i32(20), i32(channels)]
    launch(kernels, "global_mean", x, y, *sizes, grid=(1, 2))
    launch(kernels, "global_mean_dx", dy, dx, *sizes, divide_record(-(-channels // (8 if bf16 else 4))), **shape_of)
    elements.check(y, x_value.mean(axis=1))
    elements.check(dx, np.repeat(dy_value[:, None] / 20, 20, axis=1))


@pytest.mark.parametrize(("window", "size"), CONVOLUTIONS)
@pytest.mark.parametrize(("channels", "groups"), [(6, 1), (6, 2), (16, 2)])
@pytest.mark.parametrize("shape_of", SHAPES)
def test_columns(bf16, window, size, channels, groups, shape_of):
    """Columns times weights are the convolution, and adding columns back is the transpose of gathering them."""
    elements = Elements(bf16, seed=channels)
    x, x_value = elements.draw(2, *size, channels)
    output, depth = window.output(size), channels // groups
    taps = window.kernel[0] * window.kernel[1]
    columns = elements.room(groups, 2 * output[0] * output[1], taps * depth)
    by_value = window_record(window, x, groups)
    kernels = cpu.build("conv2d_im2col.cu", ELEMENT_BF16=bf16)
    launch(kernels, "im2col", x, columns, by_value, **shape_of)
    w = elements.rng.standard_normal((*window.kernel, depth, 4))
    y = np.empty((2, *output, 4))
    plan = plan_conv2d(window, size, groups, channels, 4)
    OPS["conv2d"].numpy(x_value, w, None, y, plan)
    weights = w.reshape(taps * depth, groups, 4 // groups).swapaxes(0, 1)
    product = (elements.value(columns) @ weights).swapaxes(0, 1).reshape(y.shape)
    np.testing.assert_allclose(product, y, rtol=1e-9, atol=1e-9)

    drawn, drawn_value = elements.draw(*columns.shape)
    dx = elements.room(*x.shape)
    launch(kernels, "col2im", drawn, dx, by_value, **shape_of)
    left, right = (drawn_value * elements.value(columns)).sum(), (elements.value(dx) * x_value).sum()
    np.testing.assert_allclose(left, right, rtol=0, atol=(0.5 if bf16 else 1e-3))
    elements.check(dx, added_back(drawn_value.reshape(groups, 2, *output, taps, depth), window, size), scale=5)


def added_back(columns, window, size):
    groups, _, rows, cols, taps, depth = columns.shape
    padded = np.zeros((2, *window.padded(size), groups * depth))
    for tap in range(taps):
        top, left = (i * d for i, d in zip(divmod(tap, window.kernel[1]), window.dilation))
        place = padded[:, top :: window.stride[0], left :: window.stride[1]][:, :rows, :cols]
        place += columns[:, :, :, :, tap].transpose(1, 2, 3, 0, 4).reshape(2, rows, cols, groups * depth)
    return inside(padded, window, size)
