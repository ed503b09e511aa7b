"""Pools as layers ask for them, on the device that stands for a GPU, against NumPy."""

import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.device import CPU
from mpitrain.layers import AvgPool2d, GlobalAvgPool, MaxPool2d, ReLU, Sequential


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("make", "launched"),
    [
        (lambda: MaxPool2d(2), "max_pool"),
        (lambda: MaxPool2d(3, 2, 1), "max_pool"),
        (lambda: Sequential(MaxPool2d(2), ReLU()), "max_pool"),
        (lambda: AvgPool2d(2), "mean_pool"),
        (lambda: AvgPool2d(3, 2, 1), "mean_pool"),
        (GlobalAvgPool, "global_mean"),
    ],
)
def test_layers(device, make, launched, training):
    x = np.random.default_rng(0).standard_normal((3, 7, 6, 5)).astype(np.float32)
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
