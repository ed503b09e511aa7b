"""Layer norm, GELU, embeddings and depthwise convolutions in C against the NumPy functions, in float64."""

import numpy as np

from mpitrain.ops import OPS
from mpitrain.ops.conv2d_depthwise import Depthwise
from mpitrain.ops.window import Window
from tests.cpu_kernels import double, draws, levels, near, use

SEEDS = range(30)


@levels
def test_layer_norm(kernels, level, threads):
    use(level, threads)
    for seed in SEEDS:
        rng, normal, empty = draws(seed)
        m, c = int(rng.integers(0, 300)), int(rng.integers(1, 90))
        x, w, b, dy = normal(m, c) * 3 + 20, normal(c), normal(c), normal(m, c)
        z, r, y, dx, both = empty(m, c), empty(m, 1), empty(m, c), empty(m, c), empty(2, c)
        assert kernels.layernorm(x, w, b, 1e-5, z, r, y)
        z2, r2, y2, dx2 = np.empty((m, c)), np.empty((m, 1)), np.empty((m, c)), np.empty((m, c))
        OPS["layernorm"].numpy(*double(x, w, b), 1e-5, z2, r2, y2)
        scale = 1 + float(r2.max(initial=0))  # rows of nearly equal numbers lose digits
        near(z, z2, 3e-5 * scale, seed)
        near(y, y2, 3e-5 * scale, seed)
        assert kernels.layernorm_dw(dy, z, both)
        both2 = np.empty((2, c))
        OPS["layernorm_dw"].numpy(*double(dy, z), both2)
        near(both, both2, 1e-5, seed)
        assert kernels.layernorm_dx(dy, z, r, w, dx)
        OPS["layernorm_dx"].numpy(*double(dy, z, r, w), dx2)
        near(dx, dx2, 1e-5 * scale, seed)
        dw, db, again = normal(c), empty(c), empty(m, c)
        before = dw.astype(np.float64)
        assert kernels.layernorm_backward(dy, z, r, w, dw, db, again, True, False)
        near(again, dx2, 1e-5 * scale, seed)
        near(dw, before + both2[0], 1e-5, seed)
        near(db, both2[1], 1e-5, seed)
    x[:] = np.nan if m else 0
    assert kernels.layernorm(x, w, b, 1e-5, z, r, y)
    assert np.isnan(y).all()


@levels
def test_gelu(kernels, level, threads):
    use(level, threads)
    x = np.concatenate([np.linspace(-15, 15, 40_001), [1e-40, -1e-40, 0.0, -0.0]]).astype(np.float32)
    y, slope, y2, slope2 = np.empty_like(x), np.empty_like(x), np.empty(x.shape), np.empty(x.shape)
    for name in ("gelu", "gelu_tanh"):
        assert getattr(kernels, name)(x, y, slope)
        OPS[name].numpy(x.astype(np.float64), y2, slope2)
        np.testing.assert_allclose(y, y2, rtol=2e-6, atol=1e-6)
        np.testing.assert_allclose(slope, slope2, rtol=2e-6, atol=1e-6)
        dy = np.arange(len(x), dtype=np.float32)
        assert kernels.gelu_dx(slope, dy, dy)
        np.testing.assert_array_equal(dy, np.arange(len(x), dtype=np.float32) * slope)
        for n in (1, 5, 17):
            assert getattr(kernels, name)(x[:n], y[:n], slope[:n])
        ends = np.array([np.nan, np.inf], np.float32)
        assert getattr(kernels, name)(ends, y[:2], slope[:2])
        np.testing.assert_array_equal(y[:2], ends)


@levels
def test_sigmoid_and_silu(kernels, level, threads):
    use(level, threads)
    x = np.concatenate([np.linspace(-100, 100, 40_001), [1e-40, -1e-40, 0.0, -0.0]]).astype(np.float32)
    y, s, s2, y2 = np.empty_like(x), np.empty_like(x), np.empty(x.shape), np.empty(x.shape)
    OPS["silu"].numpy(x.astype(np.float64), s2, y2)
    assert kernels.sigmoid(x, y)
    near(y, s2, 1e-6)
    s2 = 1 / (1 + np.exp(-x.astype(np.float64)))  # NumPy's function is right to an absolute error only
    y2 = x * s2
    np.testing.assert_allclose(y, s2, rtol=1e-6, atol=1e-36)
    assert kernels.silu(x, s, y)
    np.testing.assert_array_equal(s[:5], 0)
    np.testing.assert_allclose(s, s2, rtol=1e-6, atol=1e-36)
    np.testing.assert_allclose(y, y2, rtol=1e-6, atol=1e-36)
    dy = np.cos(np.arange(len(x), dtype=np.float32))
    for name, kept in (("sigmoid_dx", (s,)), ("silu_dx", (s, y)), ("tanh_dx", (s,))):
        dx, expected, wide = dy.copy(), np.empty(x.shape), double(*kept, dy)
        assert getattr(kernels, name)(*kept, dx, dx)
        OPS[name].numpy(*wide, expected)
        near(dx, expected, 1e-6, name)
    for n in (0, 1, 5, 17):
        assert kernels.silu(x[:n], s[:n], y[:n])
    ends = np.array([np.nan, np.inf], np.float32)
    assert kernels.silu(ends, s[:2], y[:2])
    np.testing.assert_array_equal(y[:2], ends)


@levels
def test_embedding(kernels, level, threads):
    use(level, threads)
    for seed in SEEDS:
        rng, normal, empty = draws(seed)
        m, v, d = (int(rng.integers(least, most)) for least, most in ((0, 200), (1, 40), (1, 90)))
        ids, table, dy, y = rng.integers(0, v, m), normal(v, d), normal(m, d), empty(m, d)
        assert kernels.embedding(ids, table, y)
        np.testing.assert_array_equal(y, table[ids])
        found, expected = table.copy(), table.astype(np.float64)
        assert kernels.embedding_dw(ids, dy, found)
        np.add.at(expected, ids, dy)
        near(found, expected, 1e-5, seed)
    assert m
    kept = table.copy()
    for wrong in (ids - v, ids + v):
        assert not kernels.embedding(wrong, table, y)
        assert not kernels.embedding_dw(wrong, dy, table)
    np.testing.assert_array_equal(table, kept)


@levels
def test_depthwise(kernels, level, threads):
    use(level, threads)
    for seed in SEEDS:
        rng, normal, empty = draws(seed)
        kernel, stride, padding, dilation = (
            tuple(map(int, rng.integers(low, high, 2))) for low, high in ((1, 5), (1, 4), (0, 4), (1, 3))
        )
        window = Window(kernel, stride, padding, dilation)
        size = tuple(int(rng.integers(max(1, window.extent(d) - 2 * padding[d]), 16)) for d in (0, 1))
        n, c = int(rng.integers(0, 4)), int(rng.integers(1, 50))
        x, w, b, dy = normal(n, *size, c), normal(*kernel, 1, c), normal(c), normal(n, *window.output(size), c)
        y, dx, dw, how = empty(*dy.shape), empty(*x.shape), empty(*w.shape), (*stride, *padding, *dilation)
        y2, dx2, dw2 = np.empty(dy.shape), np.empty(x.shape), np.empty(w.shape)
        oracle = Depthwise(window, size)
        oracle.run(*double(x, w, b), y2)
        oracle.dx(*double(dy, w), dx2)
        oracle.dw(*double(x, dy), dw2, False)
        assert kernels.conv2d_depthwise(x, w, b, y, *how)
        assert kernels.conv2d_depthwise_dx(dy, w, dx, *how)
        assert kernels.conv2d_depthwise_dw(x, dy, dw, *how, False)
        for name, found, expected in (("y", y, y2), ("dx", dx, dx2), ("dw", dw, dw2)):
            near(found, expected, 1e-5, (name, seed, window, x.shape))
        assert kernels.conv2d_depthwise_dw(x, dy, dw, *how, True)
        near(dw, 2 * dw2, 1e-5, ("adding", seed))
    assert not kernels.conv2d_depthwise(x, w[:, :, :, :-1], b, y, *how)
    assert not kernels.conv2d_depthwise(x, w, None, y, *stride, padding[0] + 5, padding[1], *dilation)
