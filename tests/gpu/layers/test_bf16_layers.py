"""Every layer with activations and gradients in bf16, against float64.

A number is rounded to bf16 with a relative error of at most 2^-9, of 2^-9 / sqrt(3) in the mean; layers of the cases
round up to ten numbers one after the other, and sums are fp32. So errors stay below 2^-6 of the results in the mean,
unless rounding moves an argument of ReLU over its kink, so that a slope is wrong by 1, or a token to another expert.
"""

import numpy as np
import pytest

from tests.gpu.device import ShimDevice
from tests.gpu.layers.check import Run, compare_in_bf16, in_bf16, relative_error
from tests.gpu.layers.every_layer import CASES

BOUND = 2**-6
BOUNDS = {
    **dict.fromkeys(("perceptron", "recomputed", "part"), 2**-4),
    **dict.fromkeys(("experts", "experts, balanced by bias"), 2**-2),
}
CASTS = ("cast_rows", "pack_rows", "to_bf16", "to_fp32")


@pytest.fixture
def device():
    made = ShimDevice()
    made.precision = "bf16"
    return made


@pytest.mark.parametrize("name", CASES)
def test_layer(device, name):
    case = CASES[name]
    compare_in_bf16(device, case.make, case.x(), BOUNDS.get(name, BOUND))


@pytest.mark.parametrize("name", CASES)
def test_fp32_from_a_layer_of_ones_own(device, name):
    """NumPy makes fp32 of bf16 and weights, so such a layer may give it to the next one, forward and backward.

    Numbers that bf16 holds give nearly what they give in arrays of bf16: no kernel takes one type for the other.
    """
    case, results = CASES[name], []
    x = case.x()
    if np.issubdtype(x.dtype, np.floating):
        x = in_bf16(x).astype(np.float32)
    for dtype in (np.float32, device.activation_dtype):
        run = Run(case.make, device, np.float32, True, False)
        given = device.from_host(x.astype(dtype) if x.dtype == np.float32 else x)
        run.arena.begin_step()
        y = run.layer.forward(given, run.ctx)
        results.append([device.to_host(y).copy()])
        dy = in_bf16(np.random.default_rng(0).standard_normal(y.shape)).astype(dtype)
        dx = run.layer.backward(device.from_host(dy), run.ctx)
        results[-1] += [
            device.to_host(dx).copy(),
            device.to_host(run.arena.gradients),
            device.to_host(run.arena.states),
        ]
    for found, expected in zip(*results, strict=True):
        assert relative_error(np.float64(found), np.float64(expected)) <= BOUNDS.get(name, BOUND)
