"""Kernels in C of transformers (RMSNorm, rotary positions, SwiGLU, dropout) against NumPy in float64."""

import numpy as np

from mpitrain.ops import OPS
from mpitrain.ops.gradient import Gradient
from mpitrain.ops.rotary import rotary_table
from tests.cpu_kernels import double, draws, levels, near, use

rotary = OPS["rotary"]


@levels
def test_rmsnorm(kernels, level, threads):
    use(level, threads)
    for seed in range(30):
        rng, normal, empty = draws(seed)
        m, c = int(rng.integers(0, 300)), int(rng.integers(1, 90))
        x, w, dy = normal(m, c) * 3 + 1, normal(c), normal(m, c)
        r, y, dx, dw = empty(m, 1), empty(m, c), empty(m, c), normal(c)
        assert kernels.rmsnorm(x, w, 1e-5, r, y)
        r2, y2, dx2, dw2 = np.empty((m, 1)), np.empty((m, c)), np.empty((m, c)), dw.astype(np.float64)
        OPS["rmsnorm"].numpy(*double(x, w), 1e-5, r2, y2)
        near(r, r2, 1e-6, seed)
        near(y, y2, 1e-6, seed)
        assert kernels.rmsnorm_backward(dy, x, r, w, dw, dx, True)
        OPS["rmsnorm_backward"].numpy(*double(dy, x, r, w), Gradient(dw2, True), dx2)
        near(dw, dw2, 1e-5, seed)
        near(dx, dx2, 1e-5, seed)
        assert kernels.rmsnorm_backward(dy, x, r, w, dw, dy, False)
        np.testing.assert_array_equal(dy, dx)
    assert not kernels.rmsnorm(x.astype(np.float64), w, 1e-5, r, y)
    assert not kernels.rmsnorm_backward(dy, x, r, w[:-1], dw, dx, False)


@levels
def test_rotary(kernels, level, threads):
    use(level, threads)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        n, heads, length, half = (int(x) for x in rng.integers((0, 1, 1, 1), (4, 5, 60, 40)))
        rows = rng.standard_normal((n, length, heads + 2, 2 * half), np.float32)
        table, wide = rotary_table(64, 2 * half, 100.0).astype(np.float32), rows.astype(np.float64)
        how = (rng.integers(0, 64, (n, length)) if seed % 2 else None), int(rng.integers(0, 5)), bool(seed % 3)
        assert kernels.rotary(rows.transpose(0, 2, 1, 3)[:, 1:-1], table, *how)
        rotary.numpy(wide.transpose(0, 2, 1, 3)[:, 1:-1], table.astype(np.float64), *how)
        near(rows, wide, 1e-6, seed)
    x, table = np.ones((2, 3, 4, 6), np.float32), np.ones((8, 6), np.float32)
    assert kernels.rotary(x, table, None, 4, False)
    for positions, offset in ((None, 5), (None, -1), (np.full((2, 4), 8), 0), (np.full((2, 4), -1), 0)):
        assert not kernels.rotary(x, table, positions, offset, False)
    assert not kernels.rotary(x, table[:, :4].copy(), None, 0, False)


@levels
def test_rotary_takes_heads_in_one_piece(kernels, level, threads):
    use(level, threads)
    x, table = np.ones((2, 3, 4, 6), np.float32), np.ones((8, 6), np.float32)
    assert not kernels.rotary(x[..., ::-1], table, None, 0, False)


@levels
def test_swiglu(kernels, level, threads):
    use(level, threads)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        m, c = int(rng.integers(0, 60)), int(rng.integers(1, 90))
        x, dy = rng.standard_normal((m, 2 * c), np.float32) * 5, rng.standard_normal((m, c), np.float32)
        y, dx, y2, dx2 = np.empty_like(dy), np.empty_like(x), np.empty(dy.shape), np.empty(x.shape)
        assert kernels.swiglu(x, y)
        assert kernels.swiglu_dx(x, dy, dx)
        OPS["swiglu"].numpy(x.astype(np.float64), y2)
        OPS["swiglu_dx"].numpy(x.astype(np.float64), dy.astype(np.float64), dx2)
        near(y, y2, 3e-6, seed)
        near(dx, dx2, 3e-6, seed)
    assert not kernels.swiglu(x[:, 1:].copy(), y)
    assert not kernels.swiglu_dx(x, y.astype(np.float64), dx)


@levels
def test_dropout(kernels, level, threads):
    use(level, threads)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        rows, columns = (int(x) for x in rng.integers(0, 90, 2))
        position = seed, int(rng.integers(0, 9)), int(rng.integers(0, 2**62)), int(rng.integers(0, 2**40))
        mask, expected = np.full((rows, columns), np.nan, np.float32), np.empty((rows, columns), np.float32)
        p = float(rng.random())
        assert kernels.dropout_mask(mask, round(p * 65536), *position)
        OPS["dropout_mask"].numpy(expected, p, position)
        np.testing.assert_array_equal(mask, expected, err_msg=str((seed, position)))
    assert not kernels.dropout_mask(mask.astype(np.float64), 3, 0, 0, 0, 0)
