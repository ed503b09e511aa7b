"""Pools as layers ask for them, on the device that stands for a GPU, against NumPy."""

import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.device import CPU, bfloat16
from mpitrain.layers import AvgPool2d, GlobalAvgPool, MaxPool2d, ReLU, Sequential
from mpitrain.ops.pool import max_pool_argmax, max_pool_dx
from mpitrain.ops.window import Window


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("make", "launched"),
    [
        (lambda: MaxPool2d(2), "max_pool"),
        (lambda: MaxPool2d(3, 2, 1), "max_pool"),
        (lambda: Sequential(MaxPool2d(2), ReLU()), "max_pool"),
        (lambda: AvgPool2d(2), "mean_pool"),
        (lambda: AvgPool2d(3, 2, 1), "mean_pool"),
        (lambda: AvgPool2d(3, 1, 1), "mean_pool"),
        (lambda: MaxPool2d(3, 1, 1), "max_pool"),
        (lambda: MaxPool2d(3, 3), "max_pool"),
        (GlobalAvgPool, "global_mean"),
    ],
)
@pytest.mark.parametrize("channels", [5, 8])
def test_layers(device, make, launched, training, channels):
    """Channels in whole pieces, for which some windows have kernels of their own, and others."""
    x = np.random.default_rng(0).standard_normal((3, 7, 6, channels)).astype(np.float32)
    found = []
    for where in (CPU, device):
        layer, ctx = make(), Context(training=training, device=where)
        Arena(layer.named_parameters(), device=where)
        y = layer.forward(where.from_host(x), ctx)
        found.append([where.to_host(y).copy()])
        if training:
            dy = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
            found[-1].append(where.to_host(layer.backward(where.from_host(dy), ctx)).copy())
    for ours, numpys in zip(found[1], found[0]):
        np.testing.assert_allclose(ours, numpys, rtol=1e-5, atol=1e-6)
    assert device.launches[launched] == 1
    assert device.launches[f"{launched}_dx"] == training


@pytest.mark.parametrize(
    "window", [Window((2, 2), (2, 2)), Window((3, 3), (2, 2), (1, 1)), Window((3, 3), (1, 1), (1, 1))]
)
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, bfloat16()])
def test_kernels_for_windows(device, window, first, dtype):
    """Arrays that do not begin at 16 bytes take the kernels for any window, with the same result."""
    draw, channels = np.random.default_rng(0).standard_normal, 16
    shape = 2, *window.output((7, 6)), channels
    x, dy, y, dx = (
        device.empty((int(np.prod(s)) + 1,), dtype)[first : first + int(np.prod(s))].reshape(s)
        for s in ((2, 7, 6, channels), shape, shape, (2, 7, 6, channels))
    )
    for array in (x, dy):
        array[...] = device.from_host(draw(array.shape).astype(dtype))
    argmax = device.empty(shape, np.uint8)
    max_pool_argmax(x, window, y, argmax, False)
    max_pool_dx(argmax, dy, window, dx)
    found = device.to_host(y), device.to_host(argmax), device.to_host(dx)
    wide, slopes = device.to_host(x).astype(np.float64), device.to_host(dy).astype(np.float64)
    expected = np.empty(shape), np.empty(shape, np.uint8), np.empty(wide.shape)
    max_pool_argmax.numpy(wide, window, expected[0], expected[1], False)
    max_pool_dx.numpy(expected[1], slopes, window, expected[2])
    for mine, numpys in zip(found, expected):
        np.testing.assert_allclose(mine.astype(np.float64), numpys, rtol=1e-2, atol=1e-2)
