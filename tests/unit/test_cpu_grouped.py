"""Grouped and dilated convolutions in C against plain columns in float64."""

import numpy as np
import pytest

from mpitrain.layers import Conv2d
from mpitrain.ops.window import Window
from tests.cpu_kernels import by_columns, levels, near, use


def draw(rng):
    """Return a window, groups and arrays of random shapes: few and many channels a group, thin, wide, empty."""
    kernel, stride, padding, dilation = (
        tuple(map(int, rng.integers(low, high, 2))) for low, high in ((1, 5), (1, 4), (0, 6), (1, 4))
    )
    window = Window(kernel, stride, padding, dilation)
    size = [int(rng.integers(max(1, window.extent(d) - 2 * padding[d]), 14 + 16 * d)) for d in (0, 1)]
    groups, most = int(rng.integers(1, 14)), int(rng.choice([5, 40]))
    channels, outputs = (groups * int(rng.integers(1, most)) for _ in range(2))
    x = rng.standard_normal((int(rng.integers(0, 4)), *size, channels), np.float32)
    w = rng.standard_normal((*kernel, channels // groups, outputs), np.float32)
    b = rng.standard_normal(outputs, np.float32)
    return window, groups, x, w, b, rng.standard_normal((len(x), *window.output(size), outputs), np.float32)


@levels
def test_against_columns(kernels, level, threads):
    use(level, threads)
    for seed in range(60):
        window, groups, x, w, b, dy = draw(np.random.default_rng(seed))
        how = (*window.stride, *window.padding, *window.dilation, groups)
        y, dx, dw = (np.full_like(each, np.nan) for each in (dy, x, w))
        assert kernels.conv2d_grouped(x, w, b, y, *how)
        assert kernels.conv2d_grouped_dx(dy, w, dx, *how)
        assert kernels.conv2d_grouped_dw(x, dy, dw, *how, False)
        what = seed, window, groups, x.shape, w.shape
        for name, found, expected in zip(("y", "dx", "dw"), (y, dx, dw), by_columns(window, x, w, b, dy, groups)):
            near(found, expected, 2e-5, (name, *what))
        twice = dw.copy()
        assert kernels.conv2d_grouped_dw(x, dy, twice, *how, True)
        near(twice, 2 * dw.astype(np.float64), 1e-5, ("adding", *what))
        assert kernels.conv2d_grouped(x, w, None, y, *how)
        near(y, by_columns(window, x, w, 0 * b, dy, groups)[0], 2e-5, ("no bias", *what))


@pytest.mark.parametrize("per_group", [2, 20])
@levels
def test_nan_stays_where_it_belongs(kernels, level, threads, per_group):
    use(level, threads)
    channels = 3 * per_group
    x, w = np.ones((2, 9, 9, channels), np.float32), np.ones((3, 3, per_group, channels), np.float32)
    y, dx = np.empty_like(x), np.empty_like(x)
    x[1, 4, 4, per_group] = np.nan  # of the second group
    x[0, 0, 0, 0] = np.inf
    x[0, 8, 8, 0] = 1e-40  # denormal
    how = (1, 1, 2, 2, 2, 2, 3)
    assert kernels.conv2d_grouped(x, w, None, y, *how)
    expected = np.zeros(y.shape, bool)
    expected[1, 2:7:2, 2:7:2, per_group : 2 * per_group] = True
    np.testing.assert_array_equal(np.isnan(y), expected)
    assert np.isinf(y[0, :3:2, :3:2, :per_group]).all()
    assert np.isfinite(y[0, 3:, 3:]).all()
    assert kernels.conv2d_grouped_dx(x, w, dx, *how)  # the same convolution, turned
    np.testing.assert_array_equal(np.isnan(dx), expected)


@levels
def test_central_differences(kernels, level, threads):
    """Use whole numbers and a step of one: y is linear in x and in w, and float32 is exact."""
    use(level, threads)
    for groups, per_group in ((3, 2), (2, 10)):
        rng, channels = np.random.default_rng(0), groups * per_group
        x = rng.integers(-3, 4, (2, 7, 6, channels)).astype(np.float32)
        w = rng.integers(-3, 4, (3, 2, per_group, channels)).astype(np.float32)
        window = Window((3, 2), (2, 1), (1, 0), (2, 3))
        how = (*window.stride, *window.padding, *window.dilation, groups)
        y = np.empty((2, *window.output((7, 6)), channels), np.float32)
        dy = rng.integers(-2, 3, y.shape).astype(np.float32)
        dx, dw = np.empty_like(x), np.empty_like(w)
        assert kernels.conv2d_grouped_dx(dy, w, dx, *how)
        assert kernels.conv2d_grouped_dw(x, dy, dw, *how, False)
        for array, gradient in ((x, dx), (w, dw)):
            for i in rng.permutation(array.size)[:30]:
                values = []
                for step in (1, -2):
                    array.reshape(-1)[i] += step
                    assert kernels.conv2d_grouped(x, w, None, y, *how)
                    values.append(np.sum(y * dy))
                array.reshape(-1)[i] += 1
                assert gradient.reshape(-1)[i] == (values[0] - values[1]) / 2


def test_what_is_not_covered(kernels):
    x, w, y = np.ones((1, 6, 6, 4), np.float32), np.ones((3, 3, 2, 6), np.float32), np.zeros((1, 2, 2, 6), np.float32)
    how = (1, 1, 0, 0, 2, 2, 2)
    assert kernels.conv2d_grouped(x, w, None, y, *how)
    assert not kernels.conv2d_grouped(x, w, None, y, *how[:-1], 3)
    assert not kernels.conv2d_grouped(x.astype(np.float64), w, None, y, *how)
    assert not kernels.conv2d_grouped(x[:, ::2], w, None, y, *how)
    assert not kernels.conv2d_grouped(x, w, np.ones(2, np.float32), y, *how)
    assert not kernels.conv2d_grouped(x, w, None, y, 1, 1, 0, 0, 1, 2, 2)


@pytest.mark.parametrize(("groups", "dilation"), [(4, 1), (1, 2), (2, (1, 3))])
def test_the_layer_takes_them(kernels, groups, dilation):
    layer = Conv2d(8, 12, 3, padding=1, dilation=dilation, groups=groups)
    plan = layer._plan(np.zeros((2, 9, 9, 8), np.float32))
    assert plan.kernel == "conv2d_grouped"
    assert plan.numbers[-1] == groups
