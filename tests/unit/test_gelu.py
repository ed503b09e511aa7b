import math

import numpy as np
import pytest

from mpitrain.ops import gelu
from mpitrain.ops.gelu import half_erfc


def test_half_erfc_is_right_to_one_in_a_billion():
    z = np.linspace(0, 8, 20_001)
    out = np.empty_like(z)
    half_erfc(z, np.exp(-z * z), out, np.empty_like(z))
    error = np.abs(out - [math.erfc(v) / 2 for v in z]).max()
    assert error < 4e-10


@pytest.mark.parametrize("op", [gelu.gelu, gelu.gelu_tanh])
@pytest.mark.parametrize("native", [True, False])
def test_the_slope_may_take_the_place_of_x(op, native):
    x = np.random.default_rng(0).standard_normal(20_001).astype(np.float32)
    run = op if native else op.numpy
    y, slope, again = np.empty_like(x), np.empty_like(x), x.copy()
    run(x, y, slope)
    found = np.empty_like(x)
    run(again, found, again)
    np.testing.assert_array_equal(found, y)
    np.testing.assert_array_equal(again, slope)
