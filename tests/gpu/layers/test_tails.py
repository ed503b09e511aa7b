"""Launches of residual blocks and of convolutions with ReLUs: sums and ReLUs have none of their own, nor gradients."""

import numpy as np
import pytest

from mpitrain.device import CPU
from mpitrain.layers import BatchNorm2d, Conv2d, ReLU, Residual, Sequential
from tests.gpu.device import ShimDevice
from tests.gpu.layers.check import check_layer
from tests.gpu.training.job import Job

X = np.random.default_rng(1).standard_normal((3, 6, 5, 4)).astype(np.float32)
ALONE = {"add", "add_relu", "add_relu_dx", "relu_forward", "relu_dx"}


def block():
    return Residual(
        Sequential(Conv2d(4, 6, 3, 1, 1, bias=False), BatchNorm2d(6), ReLU(), Conv2d(6, 4, 1), BatchNorm2d(4)),
        None,
        ReLU(),
    )


def test_residual_block(device):
    """The sum forward is in the last normalization, and that of the gradients in the first convolution."""
    launches = check_layer(device, block, X)
    assert not ALONE & set(launches)
    for name in ("apply_residual", "sums_residual", "apply", "sums"):
        assert launches[f"batchnorm_{name}"] == 1
    assert check_layer(device, block, X, training=False)["batchnorm_evaluate_residual"] == 1


def test_chain_of_convolutions(device):
    """Biases' gradients are sums in the pass that writes dx; at the top one pass masks and sums."""

    def chain():
        return Sequential(Conv2d(4, 6, 3, 1, 1), ReLU(), Conv2d(6, 5, 1), ReLU(), Conv2d(5, 4, 3), ReLU())

    launches = check_layer(device, chain, X)
    assert not ALONE & set(launches)
    assert launches["mask_and_sum"] == 1
    assert not launches["column_sum"]


@pytest.mark.parametrize(
    ("name", "options", "batch", "precision"),
    [
        ("vgg", {"convolutions": (2, 2), "channels": (6, 8), "small_images": True}, 6, "fp32"),
        ("resnet20", {}, 4, "fp32"),
        ("unet", {}, 4, "fp32"),
        ("unet", {}, 4, "bf16"),
    ],
)
def test_training(name, options, batch, precision):
    """Losses of a few steps are the CPU's, to rounding: with batches in which no ReLU is at its kink."""
    device = ShimDevice("sm_80")
    device.precision = precision
    ours, exact = Job(name, device, batch=batch, **options), Job(name, CPU, batch=batch, **options)
    with device.counted() as counts:
        losses = [ours.step() for _ in range(3)]
    np.testing.assert_allclose(losses, [exact.step() for _ in range(3)], rtol=0.02 if precision == "bf16" else 1e-4)
    assert not ALONE - {"add"} & set(counts["launches"])  # of gradients of branches there is an add
