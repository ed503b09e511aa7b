import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mpitrain.data import Normalizer, share

RNG = np.random.default_rng(5)


def fit_on_ranks(x, size):
    """Fit on ``size`` ranks, each a thread."""
    sums, barrier = [None] * size, threading.Barrier(size)

    def fit(rank):
        def sum_over_ranks(own):
            sums[rank] = own
            barrier.wait()
            total = np.sum(sums, axis=0)
            barrier.wait()
            return total

        return Normalizer.fit(x, share(len(x), rank, size), sum_over_ranks)

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(fit, range(size)))[-1]


def sets():
    years = 2000 + RNG.integers(0, 3, (50, 1))
    table = np.concatenate([years, RNG.standard_normal((50, 2)) * 1e6, np.full((50, 1), 0.1)], axis=1)
    yield "bytes", RNG.integers(0, 256, (50, 6, 5, 3), dtype=np.uint8)
    yield "float images", RNG.standard_normal((50, 6, 5, 3)).astype(np.float32)
    yield "table", table.astype(np.float32)


@pytest.mark.parametrize(("name", "x"), list(sets()))
@pytest.mark.parametrize("size", [1, 3, 70])
def test_statistics_of_all_ranks(name, x, size):
    rows = x.astype(np.float64).reshape(-1, x.shape[-1])
    alone, normalizer = Normalizer.fit(x), fit_on_ranks(x, size)
    np.testing.assert_allclose(normalizer.mean, rows.mean(axis=0), rtol=1e-12, atol=1e-12)
    deviation = rows.std(axis=0)
    np.testing.assert_allclose(normalizer.std, np.where(deviation > 1e-12, deviation, 1), rtol=1e-10)
    if x.dtype == np.uint8:
        np.testing.assert_array_equal(normalizer.mean, alone.mean)
        np.testing.assert_array_equal(normalizer.std, alone.std)


@pytest.mark.parametrize(("name", "x"), list(sets()))
def test_normalises(name, x):
    normalizer = Normalizer.fit(x)
    expected = (x.astype(np.float64) - normalizer.mean) / normalizer.std
    out = np.empty(x.shape, np.float32)
    assert normalizer(x, out) is out
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(normalizer(x), out)
    np.testing.assert_allclose(normalizer.inverse(out), x, rtol=1e-5, atol=1e-4)
    assert normalizer(x[:0]).shape == (0, *x.shape[1:])


def test_in_place():
    x = RNG.standard_normal((4, 3)).astype(np.float32)
    normalizer = Normalizer.fit(x)
    expected = normalizer(x)
    np.testing.assert_array_equal(normalizer(x, x), expected)
    np.testing.assert_array_equal(normalizer.inverse(expected), normalizer.inverse(expected, out=expected))


@pytest.mark.parametrize("value", [0.0, 0.1, -3e30, 1e-42])
@pytest.mark.parametrize("count", [1, 3, 1000])
def test_a_constant_column_gets_deviation_1(value, count):
    normalizer = Normalizer.fit(np.full((count, 1), value, np.float32))
    assert normalizer.std == [1]
    assert normalizer.mean == [np.float32(value)]


def test_an_offset_costs_no_digits():
    x = (1e6 + RNG.integers(0, 4, (1000, 1))).astype(np.float32)
    out = Normalizer.fit(x)(x)
    assert len(np.unique(out)) == 4
    np.testing.assert_allclose(out.std(), 1, rtol=1e-5)


def test_more_rows_than_a_chunk(monkeypatch):
    monkeypatch.setattr("mpitrain.data.normalize._CHUNK", 64)
    for _, x in sets():
        rows = x.astype(np.float64).reshape(-1, x.shape[-1])
        np.testing.assert_allclose(Normalizer.fit(x).mean, rows.mean(axis=0), rtol=1e-12, atol=1e-12)
