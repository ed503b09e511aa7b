"""The convolutions of ResNet-50 on ImageNet: forward, dx and dw against NumPy in float64.

On a GPU they have the sizes of the network; what stands for one multiplies a million times slower: there images are
smaller.
"""

import numpy as np
import pytest

from mpitrain.kernels.bench.cases import RESNET50
from mpitrain.ops import OPS
from mpitrain.ops.conv2d import plan_conv2d
from mpitrain.ops.window import Window

TOLERANCE = {"fp32": 1e-5, "tf32": 2e-3, "bf16": 1e-2}  # of the largest result


def test_the_table_is_the_network():
    assert sum(each.layers for each in RESNET50) == 53
    assert len(set(RESNET50)) == 23
    parameters = sum(each.layers * each.kernel**2 * each.i * each.o for each in RESNET50)
    assert parameters == 23_454_912
    multiply_adds = sum(
        each.layers * (each.size // each.stride * each.kernel) ** 2 * each.i * each.o for each in RESNET50
    )
    assert multiply_adds == pytest.approx(4.09e9, rel=0.01)


@pytest.mark.parametrize("convolution", RESNET50, ids=lambda each: each.name)
def test_convolutions(anywhere, convolution):
    small = anywhere.xp is np
    check(anywhere, smaller(convolution) if small else convolution, 1 if small else 4)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("convolution", RESNET50, ids=lambda each: each.name)
def test_lower_precision(cuda, convolution, precision):
    cuda.precision = precision
    check(cuda, smaller(convolution) if cuda.xp is np else convolution, 1)


def smaller(convolution):
    """Return the same convolution of images a quarter as wide."""
    return convolution._replace(size=max(7, convolution.size // 4))


def check(device, convolution, batch, seed=0):
    size, i, o, kernel, stride, _ = convolution
    plan = plan_conv2d(Window((kernel, kernel), (stride, stride), (kernel // 2, kernel // 2)), (size, size), 1, i, o)
    rng = np.random.default_rng(seed)
    shapes = (batch, size, size, i), (kernel, kernel, i, o), (batch, *plan.output, o)
    x, w, dy = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    on = [device.from_host(array) for array in (x, w, dy)]
    found = [device.empty(shape) for shape in shapes]  # dx, dw, y
    run("__call__", *on, *found, plan)
    wide = [array.astype(np.float64) for array in (x, w, dy)]
    expected = [np.empty(shape) for shape in shapes]
    run("numpy", *wide, *expected, plan)
    for name, mine, oracle in zip(("dx", "dw", "y"), found, expected, strict=True):
        atol = TOLERANCE[device.precision] * np.abs(oracle).max()
        np.testing.assert_allclose(device.to_host(mine), oracle, rtol=0, atol=atol, err_msg=f"{name}, seed {seed}")


def run(path, x, w, dy, dx, dw, y, plan):
    getattr(OPS["conv2d"], path)(x, w, None, y, plan)
    getattr(OPS["conv2d_dx"], path)(dy, w, dx, plan)
    getattr(OPS["conv2d_dw"], path)(x, dy, dw, plan, False)
