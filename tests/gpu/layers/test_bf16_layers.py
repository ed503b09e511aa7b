"""Every layer with activations and gradients in bf16, against float64.

A number is rounded to bf16 with a relative error of at most 2^-9, of 2^-9 / sqrt(3) in the mean; layers of the cases
round up to ten numbers one after the other, and sums are fp32. So errors stay below 2^-6 of the results in the mean,
unless rounding moves an argument of ReLU over its kink, so that a slope is wrong by 1, or a token to another expert.
"""

import pytest

from tests.gpu.device import ShimDevice
from tests.gpu.layers.check import compare_in_bf16
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
