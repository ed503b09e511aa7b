"""Cheap activations, for results in bf16: within their stated bounds of float64, which are below bf16's rounding."""

import numpy as np
import pytest

from tests.kernels import cpu
from tests.kernels.arrays import i32, launch
from tests.kernels.products.cases import gelu, gelu_tanh, slope

pytestmark = cpu.needs_gxx
ROUNDING = 2**-9  # relative, of bf16


@pytest.fixture(scope="module")
def cheap():
    """x, and what the kernels make of it."""
    x = np.concatenate([np.linspace(-12, 12, 40_001), [0, -0.0, 1e-30, -1e-30, 300, -300]]).astype(np.float32)
    out = [np.zeros_like(x) for _ in range(4)]
    launch(cpu.build("probe_activations.cu", folder=cpu.PROBES), "cheap", x, *out, i32(x.size), grid=1)
    return np.float64(x), [np.float64(y) for y in out]


def test_gelu(cheap):
    x, (y, slopes, _, _) = cheap
    assert np.all(np.abs(y - gelu(x)) <= 1e-4 * np.abs(x))
    assert np.abs(slopes - slope("gelu", x)).max() <= 1e-4 < ROUNDING / 16


def test_gelu_tanh(cheap):
    """2^-11 of tanh is all of it."""
    x, (_, _, y, slopes) = cheap
    assert np.all(np.abs(y - gelu_tanh(x)) <= 2.5e-4 * np.abs(x))
    assert np.abs(slopes - slope("gelu_tanh", x)).max() <= 1e-3 < ROUNDING


def test_ends_are_exact(cheap):
    x, (y, _, y_tanh, _) = cheap
    for found in (y, y_tanh):
        assert np.all(found[x > 5] == x[x > 5])
        assert np.all(found[x < -6] == 0)


def test_nan_stays():
    x, out = np.full(1, np.nan, np.float32), [np.zeros(1, np.float32) for _ in range(4)]
    launch(cpu.build("probe_activations.cu", folder=cpu.PROBES), "cheap", x, *out, i32(1), grid=1)
    assert all(np.isnan(y).all() for y in out)
