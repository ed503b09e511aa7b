import math
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from mpitrain.data import Normalizer, share
from mpitrain.errors import AgreedError

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
    yield "float64", table


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
def test_normalizes(name, x):
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


@pytest.mark.parametrize("shape", [(300, 3), (40, 5, 4, 3)])
def test_overwriting_float64_changes_nothing_but_the_input(shape, monkeypatch):
    monkeypatch.setattr("mpitrain.data.normalize._CHUNK", 100)
    x = 1e9 + RNG.standard_normal(shape)
    normalizer, before = Normalizer.fit(x), x.copy()
    expected = normalizer(x)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(normalizer(x.copy(), overwrite=True), expected)
    np.testing.assert_array_equal(normalizer(x[:7]), expected[:7])


def test_inverse_keeps_an_offset():
    times = 1.7e9 + np.arange(20.0)[:, None] / 4
    normalizer = Normalizer.fit(times)
    back = normalizer.inverse(normalizer(times))
    assert back.dtype == np.float64
    np.testing.assert_allclose(back, times, rtol=0, atol=1e-6)


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


def exact_statistics(column):
    """Mean and deviation of numbers by rational arithmetic, the root to some hundred digits."""
    values = [Fraction(float(v)) for v in column]
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    return mean, Fraction(math.isqrt(int(variance * 4**400))) / 2**400


def assert_exact(x, normalizer, rounding):
    """Mean and deviation are the column's; outputs are (x - mean) / std by these numbers, to float32."""
    out = normalizer(x)
    for k in range(x.shape[1]):
        mean, std = exact_statistics(x[:, k])
        step = Fraction(float(np.spacing(abs(normalizer.mean[k]))))
        assert abs(Fraction(normalizer.mean[k]) - mean) <= step + std / 10**15
        if std == 0:
            assert normalizer.std[k] == 1
        else:
            assert abs(Fraction(normalizer.std[k]) / std - 1) < Fraction(1, 10**12)
        for value, found in zip(x[:, k], out[:, k]):
            expected = (Fraction(float(value)) - Fraction(normalizer.mean[k])) / Fraction(normalizer.std[k])
            assert abs(Fraction(float(found)) - expected) <= rounding * max(1, abs(expected))


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    offset=st.sampled_from([0.0, 1.0, 1e3, 1e6, 1.7e9, 1e12, 1e15, -1e15]),
    spread=st.sampled_from([1e-3, 1.0, 1e3, 1e9]),
    size=st.integers(1, 4),
)
def test_float64_is_exact_at_any_offset(seed, offset, spread, size):
    note(f"seed {seed}")
    rng = np.random.default_rng(seed)
    x = offset + spread * rng.standard_normal((rng.integers(2, 12), 2))
    assert_exact(x, fit_on_ranks(x, size), Fraction(1, 2**23))


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    offset=st.sampled_from([0.0, 1.0, 1e3, 2.0**24, 1.7e9, -1e15]),
    spread=st.sampled_from([0.3, 2.0, 1e3, 1e9]),
)
def test_float32_is_as_exact_as_the_data(seed, offset, spread):
    note(f"seed {seed}")
    rng = np.random.default_rng(seed)
    x = (offset + spread * rng.standard_normal((rng.integers(2, 12), 2))).astype(np.float32)
    assert_exact(x, Normalizer.fit(x), Fraction(1, 2**22))


def test_neighbors_of_float32_stay_apart():
    x = (2.0**24 + np.array([[0], [2], [4], [6]])).astype(np.float32)
    assert_exact(x, Normalizer.fit(x), Fraction(1, 2**22))


@pytest.mark.parametrize("scale", [1e300, 1e200, 1e-160, 1e-290, 3e-39])
@pytest.mark.parametrize("size", [1, 3])
def test_squares_that_would_not_fit(scale, size):
    base = np.array([[-1.0], [0.5], [2.0], [4.0]])
    x = np.concatenate([base * scale, base], axis=1)
    normalizer = fit_on_ranks(x, size)
    np.testing.assert_allclose(normalizer.std, [base.std() * scale, base.std()], rtol=1e-12)
    np.testing.assert_allclose(normalizer(x)[:, 0], normalizer(x)[:, 1], rtol=1e-6)


def test_an_outlier_of_float32_leaves_the_others():
    x = np.array([[0], [1], [2], [3e38]], np.float32)
    normalizer = Normalizer.fit(x)
    np.testing.assert_allclose(
        normalizer(x)[:, 0], (x[:, 0].astype(float) - normalizer.mean) / normalizer.std, rtol=1e-6
    )


def test_what_float64_cannot_hold():
    x = np.array([[1.0, -1.7e308], [2.0, 1.7e308]])
    with pytest.raises(AgreedError, match="values of column 'b' lie further apart than float64 can hold"):
        Normalizer.fit(x, names=("a", "b"))
    with pytest.raises(AgreedError, match="values of column 1 lie"):
        Normalizer.fit(x)


@pytest.mark.parametrize("offset", [1e9, 1e15])
def test_a_spread_of_a_ten_millionth_of_the_offset_is_no_constant(offset):
    x = offset * (1 + 1e-7 * RNG.integers(-3, 4, (1000, 1)))
    out = Normalizer.fit(x)(x)
    np.testing.assert_allclose([out.mean(), out.std()], [0, 1], atol=1e-5)
    assert len(np.unique(out)) == 7
