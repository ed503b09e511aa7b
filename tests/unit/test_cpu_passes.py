import os
import subprocess
import sys

import numpy as np
import pytest

from mpitrain import cpu_kernels
from mpitrain.cli.kernel.names import show_cpu
from mpitrain.cli.terminal import make_console
from mpitrain.errors import UserError
from mpitrain.ops import OPS
from mpitrain.ops.window import Window
from tests.cpu_kernels import double, draws, levels, near, use

SEEDS = range(40)


@levels
def test_linear_layers(kernels, level, threads):
    use(level, threads)
    for seed in SEEDS:
        rng, normal, empty = draws(seed)
        n, i, o = (int(rng.integers(least, most)) for least, most in ((0, 90), (1, 300), (1, 130)))
        if seed % 4 == 3:  # sums in several parts, rows of which b is copied for
            n, i = n + int(rng.integers(90, 800)), i + int(rng.integers(0, 400))
        x, w, b, dy = normal(n, i), normal(i, o), normal(o), normal(n, o)
        y, dx, dw, db = empty(n, o), empty(n, i), empty(i, o), empty(o)
        assert kernels.linear(x, w, b, y, False)
        assert kernels.linear_dx(dy, w, dx)
        assert kernels.linear_dw(x, dy, dw, False)
        assert kernels.column_sum(dy, db, False)
        x2, w2, b2, dy2 = double(x, w, b, dy)
        what = (seed, n, i, o)
        near(y, x2 @ w2 + b2, 2e-5, what)
        near(dx, dy2 @ w2.T, 2e-5, what)
        near(dw, x2.T @ dy2, 2e-5, what)
        near(db, dy2.sum(axis=0), 2e-5, what)
        assert kernels.linear_dw(x, dy, dw, True)
        assert kernels.column_sum(dy, db, True)
        near(dw, 2 * x2.T @ dy2, 2e-5, what)
        near(db, 2 * dy2.sum(axis=0), 2e-5, what)
        assert kernels.linear(x, w, None, y, True)
        near(y, np.maximum(x2 @ w2, 0), 2e-5, what)


@levels
def test_max_pool(kernels, level, threads):
    use(level, threads)
    for seed in SEEDS:
        rng, normal, empty = draws(seed)
        window = Window(tuple(map(int, rng.integers(1, 4, 2))), tuple(map(int, rng.integers(1, 5, 2))))
        shape = tuple(int(rng.integers(*ends)) for ends in ((0, 3), (4, 12), (4, 12), (1, 40)))
        x, how = normal(*shape), (*window.kernel, *window.stride)
        if x.size:
            x[0, 1, 1, 0] = np.nan
        found = empty(shape[0], *window.output(shape[1:3]), shape[3])
        argmax, expected = np.zeros(found.shape, np.uint8), (np.zeros_like(found), np.zeros(found.shape, np.uint8))
        relu = bool(rng.integers(2))
        assert kernels.max_pool_argmax(x, found, argmax, *how, relu)
        OPS["max_pool_argmax"].numpy(x, window, *expected, relu)
        np.testing.assert_array_equal(found, expected[0], err_msg=str((seed, window, relu)))
        np.testing.assert_array_equal(argmax[~np.isnan(found)], expected[1][~np.isnan(found)])
        dy, dx, dx2 = normal(*found.shape), empty(*shape), empty(*shape)
        disjoint = window.stride[0] >= window.kernel[0] and window.stride[1] >= window.kernel[1]
        assert kernels.max_pool_dx(argmax, dy, dx, *how) == disjoint
        if disjoint:
            OPS["max_pool_dx"].numpy(argmax, dy, window, dx2)
            np.testing.assert_array_equal(dx, dx2, err_msg=str((seed, window)))


@levels
def test_batch_norm(kernels, level, threads):
    use(level, threads)
    for seed in SEEDS:
        rng, normal, empty = draws(seed)
        shape = tuple(int(rng.integers(*ends)) for ends in ((0, 4), (1, 9), (1, 9), (1, 70)))
        x, dy, y, dx = normal(*shape) * 3 + 50, normal(*shape), empty(*shape), empty(*shape)
        mean, squares, sums, dots = np.empty((4, shape[3]))
        scale, shift, a, b, c = rng.standard_normal((5, shape[3]))
        assert kernels.batchnorm_statistics(x, mean, squares)
        pixels = x.reshape(-1, shape[3]).astype(np.float64)
        if len(pixels):
            np.testing.assert_array_equal(mean, mean.astype(np.float32))
            np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=2e-7)
        np.testing.assert_allclose(squares, ((pixels - mean) ** 2).sum(axis=0), rtol=1e-5, atol=1e-9)
        for relu in (False, True):
            assert kernels.batchnorm(x, mean, scale, shift, y, relu)
            expected = (x - mean) * scale + shift
            near(y, np.maximum(expected, 0) if relu else expected, 1e-5, seed)
            known = y if relu else None
            assert kernels.batchnorm_sums(dy, x, mean, known, sums, dots)
            slope = (dy * (y > 0) if relu else dy).astype(np.float64)
            near(sums, slope.sum(axis=(0, 1, 2)), 1e-5, seed)
            near(dots, (slope * (x - mean)).sum(axis=(0, 1, 2)), 1e-5, seed)
            assert kernels.batchnorm_dx(dy, x, mean, known, a, b, c, dx)
            near(dx, a * slope + b * (x - mean) + c, 1e-5, seed)


def test_batch_norm_in_numpy_says_the_same(kernels):
    _, normal, empty = draws(0)
    x, dy = normal(3, 5, 4, 6) + 7, normal(3, 5, 4, 6)
    results = []
    for path in ("cpu", "numpy"):
        mean, squares, sums, dots = np.zeros((4, 6))
        y, dx = empty(*x.shape), empty(*x.shape)
        run = {name: op if path == "cpu" else op.numpy for name, op in OPS.items()}
        run["batchnorm_statistics"](x, mean, squares)
        run["batchnorm"](x, mean, squares, sums, y, True)
        run["batchnorm_sums"](dy, x, mean, y, sums, dots)
        run["batchnorm_dx"](dy, x, mean, y, sums, dots, squares, dx)
        results.append((mean, squares, sums, dots, y, dx))
    for found, expected in zip(*results):
        near(found, expected, 1e-5)


@levels
def test_loss(kernels, level, threads):
    use(level, threads)
    for seed in SEEDS:
        rng, normal, empty = draws(seed)
        m, k = int(rng.integers(0, 20)), int(rng.integers(1, 70))
        logits, targets = normal(m, k) * 10, rng.integers(0, k, m)
        e, s, losses, e2, s2 = empty(m, k), empty(m, 1), empty(m), np.empty((m, k)), np.empty((m, 1))
        for smoothing in (0.0, 0.1):
            assert kernels.softmax_cross_entropy(logits, targets, smoothing, e, s, losses)
            expected = OPS["softmax_cross_entropy"].numpy(logits.astype(np.float64), targets, smoothing, e2, s2)
            near(e, e2, 1e-6, seed)
            np.testing.assert_allclose(s, s2, rtol=2e-6)
            np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-5)
            for counted in (None, rng.random(m) < 0.5):
                found, wanted = e.copy(), e2.copy()
                assert kernels.softmax_cross_entropy_dx(found, s, targets, smoothing, counted)
                OPS["softmax_cross_entropy_dx"].numpy(wanted, s2, targets, smoothing, counted)
                np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6)
    assert not kernels.softmax_cross_entropy(logits, targets + k, 0.0, e, s, losses) or not m


@levels
def test_totals_of_the_loss(kernels, level, threads):
    use(level, threads)
    for seed in SEEDS:
        rng, _, empty = draws(seed)
        m, k = int(rng.integers(0, 90)), int(rng.integers(1, 70))
        logits, targets = rng.integers(-3, 4, (m, k)).astype(np.float32), rng.integers(0, k, m)  # with equal ones
        if seed % 4 == 0:
            logits[rng.random((m, k)) < 0.02] = np.nan
        smoothing, exponentials, sums, totals = 0.1 * (seed % 2), empty(m, k), empty(m + 1, 3), np.empty(3)
        assert kernels.cross_entropy(logits, targets, smoothing, -100, exponentials, sums, totals)
        expected, _ = OPS["cross_entropy"].numpy(
            logits.astype(np.float64), targets, smoothing, -100, np.empty((m, k)), np.empty((m + 1, 3))
        )
        np.testing.assert_allclose(totals, expected, rtol=1e-5, atol=1e-6, err_msg=str(seed))
        assert not m or not kernels.cross_entropy(logits, targets, 0.0, targets[-1], exponentials, sums, totals)
    assert not kernels.cross_entropy(logits, targets + k, 0.0, -100, exponentials, sums, totals)


@levels
def test_pieces_do_the_same_wherever_they_run(kernels, level, threads):
    use(level, threads)
    _, normal, empty = draws(0)
    x, dy = normal(300, 200), normal(300, 100)
    found = [empty(200, 100) for _ in range(200)]
    for dw in found:
        assert kernels.linear_dw(x, dy, dw, False)
    assert all(np.array_equal(dw, found[0]) for dw in found)


@levels
def test_relu(kernels, level, threads):
    use(level, threads)
    x = np.array([-1, -0.0, 0, 1e-40, 2, np.nan, np.inf, -np.inf] * 41, np.float32)[:-3]
    y, dy = np.empty_like(x), np.arange(len(x), dtype=np.float32)
    assert kernels.relu(x, y)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    assert kernels.relu_dx(y, dy, dy)
    np.testing.assert_array_equal(dy, np.where(x > 0, np.arange(len(x)), 0))
    assert kernels.add_relu(x, dy, y)
    np.testing.assert_array_equal(y, np.maximum(x + dy, 0))
    copy = np.empty_like(x)
    assert kernels.add_relu_dx(x, dy, copy)
    np.testing.assert_array_equal(copy, dy)


def test_what_is_not_covered(kernels):
    x = np.zeros((4, 4), np.float32)
    assert kernels.relu(x, x)
    assert not kernels.relu(x, x[:2])
    assert not kernels.relu(x.T[:2], x[:2])
    assert not kernels.relu(x.astype(">f4"), x)
    x.flags.writeable = False
    assert not kernels.relu(x.copy(), x)


def test_kernel_list_says_what_runs(kernels, capsys):
    show_cpu(make_console())
    out = capsys.readouterr().out
    assert f"kernels in C ({kernels.level()}" in out
    assert "batchnorm_dx" in out.split("in NumPy")[0].rpartition("in C ")[2]
    assert "mean_pool" in out.split("in NumPy")[1]


def test_a_build_of_other_sources_is_left_alone(kernels, monkeypatch):
    monkeypatch.setattr(cpu_kernels, "BUILD", kernels.BUILD + 1)
    assert cpu_kernels.load("") == (None, "the extension was built from other sources: run pip install again")
    with pytest.raises(UserError, match="was built from other sources"):
        cpu_kernels.load("baseline")


def test_the_environment_chooses():
    path = [sys.executable, "-c", "from mpitrain import cpu_kernels; print(cpu_kernels.why)"]
    for choice, words in (("numpy", "asks for NumPy"), ("baseline", "baseline, MPITRAIN_CPU=baseline")):
        out = subprocess.run(
            path, env=os.environ | {"MPITRAIN_CPU": choice}, capture_output=True, text=True, timeout=60
        )
        assert words in out.stdout or "not there" in out.stderr
    with pytest.raises(UserError, match=r"must be one of numpy|kernels in C are not there"):
        cpu_kernels.load("avx9")
