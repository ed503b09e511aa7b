"""Columns whose values float32 no longer tells apart are named."""

import numpy as np
import pytest

from mpitrain.data import Normalizer
from mpitrain.data.resolution import resolution_notes

RNG = np.random.default_rng(8)


def notes_on(x, names=()):
    return resolution_notes(x, Normalizer.fit(x), names, "set")


def column(values, dtype=np.float64):
    return np.asarray(values, dtype)[:, None]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            column(1.7e9 + np.arange(100) * 2, np.float32),
            r"column 0 varies by 6\d around 1.70000\d+e\+09, where float32 has steps of 1.3e\+02: f",
        ),
        (
            column(2**24 + np.arange(20) % 3, np.float32),
            r"varies by 0.9.* around 1677721\d.*float32 has steps of 2: .* .save float64, or diff",
        ),
        (
            column([1.7e9] * 20, np.float32),
            r"holds only 1.7e\+09, where float32 has steps of 1.3e\+02: finer",
        ),
        (column(1e16 + np.arange(20)), "where float64 has steps of 2: finer differences are lost .save differences"),
        (
            column(1 + 1e-7 * RNG.integers(0, 3, 99), np.float32),
            "varies by .*e-08 around 1.*, where float32 has steps of",
        ),
        (
            column([*(1e-9 * np.arange(99)), 1e9]),
            "has only 2 values that float32 tells apart, of 100 looked at: is there a",
        ),
        (column([*range(100), 1e12]), "scaled by its deviation of 9.9e.10, column 0 has only 2 values"),
    ],
)
def test_what_is_lost_is_said(x, message):
    (found,) = notes_on(x)
    assert found.startswith("set: ")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(found)


@pytest.mark.parametrize(
    "x",
    [
        RNG.standard_normal((5000, 3)),
        RNG.standard_normal((5000, 3)).astype(np.float32),
        column(1.7e9 + np.arange(100) / 4),
        column(1e15 + np.arange(100)),
        column(1.6e9 + np.sort(RNG.integers(0, 3e8, 10_000)), np.float32),
        column(np.sort(RNG.integers(0, 3e11, 10_000))),
        column([0.0, 0.1] * 30),
        column([0.1] * 30, np.float32),
        column([1e20, 1], np.float64),
        np.exp(4 * RNG.standard_normal((3000, 1))),
        RNG.integers(0, 256, (50, 8, 8, 3), dtype=np.uint8),
        (RNG.integers(0, 256, (50, 8, 8, 3)) / 255).astype(np.float32),
        np.concatenate([np.zeros((99, 1)), [[1e12]]]),
    ],
)
def test_what_is_not_lost_is_not_said(x):
    assert notes_on(x) == ()


def test_names_and_counts_of_columns():
    x = np.concatenate([1e8 + RNG.integers(0, 9, (50, 3)), RNG.standard_normal((50, 1))], axis=1).astype(np.float32)
    (found,) = notes_on(x, ("time", "b", "c", "d"))
    assert "column 'time' varies by" in found
    assert found.endswith("(save float64, or differences from an offset); the same for 2 more columns")


def test_channels_of_images():
    x = RNG.standard_normal((20, 4, 4, 2))
    x[..., 1] *= 1e-9
    x[3, 0, 0, 1] = 1e9
    (found,) = notes_on(x)
    assert "column 1 has only 2 values" in found


def test_a_large_table_is_looked_at_in_part():
    """The outlier is in none of the rows looked at, and is known from the deviation."""
    x = 1e-9 * np.arange(100_000.0)[:, None]
    x[77] = 1e9
    (found,) = notes_on(x)
    assert "has only 1 values that float32 tells apart, of 4,000 looked at" in found
