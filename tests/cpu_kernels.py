"""Helpers for tests of the kernels in C: every level of this machine, on one thread and on two."""

import numpy as np
import pytest

from mpitrain import cpu_kernels
from mpitrain.ops.conv2d_im2col import Im2col

C = cpu_kernels.C
LEVELS = [] if C is None else C.levels()

levels = pytest.mark.parametrize(
    ("level", "threads"),
    [(level, threads) for level in LEVELS for threads in (1, 2)],
    ids=[f"{level}, {threads} threads" for level in LEVELS for threads in (1, 2)],
)


def use(level, threads):
    """Set the level and the threads of all kernels, put back by the fixture ``kernels``."""
    assert C.use_level(level)
    C.use_threads(threads)


def near(found, expected, tolerance, what=""):
    """Compare a float32 result with a float64 one, relative to the largest number."""
    scale = max(1e-30, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale, err_msg=str(what))


def draws(seed):
    """Return a generator, and functions that make float32 arrays: normal draws, and memory that must be overwritten."""
    rng = np.random.default_rng(seed)
    return rng, lambda *shape: rng.standard_normal(shape, np.float32), lambda *shape: np.full(shape, np.nan, np.float32)


def double(*arrays):
    """Return the arrays in float64, one after another."""
    return (each.astype(np.float64) for each in arrays)


def by_columns(window, x, w, b, dy, groups=1):
    """Return y, dx and dw of a convolution in float64, by plain columns."""
    x, w, b, dy = double(x, w, b, dy)
    plain = Im2col(window, x.shape[1:3], groups, images=max(1, len(x)))
    y, dx, dw = np.empty(dy.shape), np.empty(x.shape), np.empty(w.shape)
    plain.run(x, w, b, y)
    plain.dx(dy, w, dx)
    plain.dw(x, dy, dw, False)
    return y, dx, dw
