import numpy as np

from mpitrain.ops.window import Window
from tests.cpu_kernels import by_columns, levels, near, use


def draw(rng, winograd):
    """Return a window and arrays of random shapes: ragged, thin, wide, empty."""
    if winograd:
        kernel, stride, padding = (3, 3), (1, 1), (int(rng.integers(0, 3)), int(rng.integers(0, 3)))
    else:
        kernel, stride, padding = (
            tuple(map(int, rng.integers(low, high, 2))) for low, high in ((1, 6), (1, 4), (0, 4))
        )
    window = Window(kernel, stride, padding)
    size = [int(rng.integers(max(1, window.extent(d) - 2 * padding[d]), 14 + 20 * d)) for d in (0, 1)]
    count, channels, outputs = int(rng.integers(0, 4)), int(rng.integers(1, 40)), int(rng.integers(1, 70))
    x = rng.standard_normal((count, *size, channels), np.float32)
    w = rng.standard_normal((*kernel, channels, outputs), np.float32)
    b = rng.standard_normal(outputs, np.float32)
    return window, x, w, b, rng.standard_normal((count, *window.output(size), outputs), np.float32)


@levels
def test_against_columns(kernels, level, threads):
    use(level, threads)
    for seed in range(60):
        rng, winograd = np.random.default_rng(seed), int(seed % 3 == 0)
        window, x, w, b, dy = draw(rng, winograd)
        how = (*window.stride, *window.padding, winograd)
        y, dx, dw = (np.full_like(each, np.nan) for each in (dy, x, w))
        assert kernels.conv2d(x, w, b, y, *how)
        assert kernels.conv2d_dx(dy, w, dx, *how)
        assert kernels.conv2d_dw(x, dy, dw, *how, False)
        for name, found, expected in zip(("y", "dx", "dw"), (y, dx, dw), by_columns(window, x, w, b, dy)):
            near(found, expected, 1e-4 if winograd else 2e-5, (name, seed, window, x.shape, w.shape))
        twice = dw.copy()
        assert kernels.conv2d_dw(x, dy, twice, *how, True)
        near(twice, 2 * dw.astype(np.float64), 1e-4, ("adding", seed))
        assert kernels.conv2d(x, w, None, y, *how)
        near(y, by_columns(window, x, w, 0 * b, dy)[0], 1e-4 if winograd else 2e-5, ("no bias", seed))


@levels
def test_images_smaller_than_a_vector(kernels, level, threads):
    use(level, threads)
    x, w, dy = (
        np.arange(n, dtype=np.float32).reshape(shape)
        for n, shape in ((8, (4, 1, 1, 2)), (2, (1, 1, 2, 1)), (4, (4, 1, 1, 1)))
    )
    dw = np.empty_like(w)
    assert kernels.conv2d_dw(x, dy, dw, 1, 1, 0, 0, 0, False)  # dy ends where a vector would go on
    np.testing.assert_array_equal(dw.reshape(2), x.reshape(4, 2).T @ dy.reshape(4))


@levels
def test_few_outputs(kernels, level, threads):
    use(level, threads)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        kernel, padding = tuple(map(int, rng.integers(1, 7, 2))), tuple(map(int, rng.integers(0, 5, 2)))
        window = Window(kernel, (1, 1), padding)
        size = [int(rng.integers(max(1, kernel[d] - 2 * padding[d]), 20)) for d in (0, 1)]
        count, many, few = int(rng.integers(0, 4)), int(rng.integers(1, 40)), int(rng.integers(1, 9))
        for channels, outputs in ((many, few), (few, many)):
            x = rng.standard_normal((count, *size, channels), np.float32)
            w, b = rng.standard_normal((*kernel, channels, outputs), np.float32), np.ones(outputs, np.float32)
            dy = rng.standard_normal((count, *window.output(size), outputs), np.float32)
            y, dx = np.full_like(dy, np.nan), np.full_like(x, np.nan)
            assert kernels.conv2d(x, w, b, y, 1, 1, *padding, 0)
            assert kernels.conv2d_dx(dy, w, dx, 1, 1, *padding, 0)
            for name, found, expected in zip(("y", "dx"), (y, dx), by_columns(window, x, w, b, dy)[:2], strict=True):
                near(found, expected, 2e-5, (name, seed, window, x.shape, w.shape))


@levels
def test_nan_stays_where_it_belongs(kernels, level, threads):
    use(level, threads)
    x, w, y = np.ones((2, 9, 9, 5), np.float32), np.ones((3, 3, 5, 7), np.float32), np.empty((2, 9, 9, 7), np.float32)
    x[1, 4, 4, 2] = np.nan
    x[0, 0, 0, 0] = np.inf
    x[0, 8, 8, 0] = 1e-40  # denormal
    assert kernels.conv2d(x, w, None, y, 1, 1, 1, 1, 0)
    expected = np.zeros(y.shape, bool)
    expected[1, 3:6, 3:6] = True
    np.testing.assert_array_equal(np.isnan(y), expected)
    assert np.isinf(y[0, :2, :2]).all()
    assert np.isfinite(y[0, 2:, 2:]).all()
    dx, w = np.empty((2, 9, 9, 2), np.float32), np.ones((3, 3, 2, 5), np.float32)
    assert kernels.conv2d_dx(x, w, dx, 1, 1, 1, 1, 0)
    np.testing.assert_array_equal(np.isnan(dx), expected[..., :2])


def test_what_is_not_covered(kernels):
    x, w, y = np.ones((1, 4, 4, 2), np.float32), np.ones((3, 3, 2, 3), np.float32), np.zeros((1, 2, 2, 3), np.float32)
    plain = (1, 1, 0, 0, 0)
    assert kernels.conv2d(x, w, None, y, *plain)
    assert not kernels.conv2d(x.astype(np.float64), w, None, y, *plain)
    assert not kernels.conv2d(x[:, ::2], w, None, y, *plain)
    assert not kernels.conv2d(x, w, np.ones(2, np.float32), y, *plain)
    assert not kernels.conv2d(x, w[..., :1], None, y, *plain)
    assert not kernels.conv2d(x, w, None, y, 1, 1, 1, 1, 0)
