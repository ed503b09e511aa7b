"""Sums by our kernels, as ops ask for them, on the device that stands for a GPU."""

import numpy as np
import pytest

from mpitrain.ops import OPS


@pytest.mark.parametrize(("rows", "n"), [(1, 1), (63, 5), (64, 128), (5000, 3), (2000, 130), (0, 4), (3, 0)])
@pytest.mark.parametrize("accumulate", [False, True])
def test_column_sums(device, rows, n, accumulate):
    rng = np.random.default_rng(rows)
    x, before = rng.standard_normal((rows, n)).astype(np.float32), rng.standard_normal(n).astype(np.float32)
    out = device.from_host(before)
    OPS["column_sum"](device.from_host(x), out, accumulate)
    expected = x.sum(axis=0, dtype=np.float64) + accumulate * before
    np.testing.assert_allclose(device.to_host(out), expected, rtol=1e-5, atol=1e-4)
    assert device.launches["sum_rows"] == (rows >= 1000 and n > 0), "many rows are summed in parts"
    assert device.temporaries == 0


@pytest.mark.parametrize("n", [0, 1, 255, 70_001])
def test_sums_of_squares(device, n):
    x = np.random.default_rng(n).standard_normal(n).astype(np.float32)
    parts = device.empty((7,))
    OPS["sum_of_squares_in_parts"](device.from_host(x), parts)
    assert device.to_host(parts).sum(dtype=np.float64) == pytest.approx((x.astype(np.float64) ** 2).sum(), rel=1e-5)
    on_cpu = np.empty(3, np.float32)
    OPS["sum_of_squares_in_parts"](x, on_cpu)
    assert on_cpu.sum() == pytest.approx(device.to_host(parts).sum(), rel=1e-5)
