"""Sums and products without rounding, against fractions."""

import math
import random
from fractions import Fraction

import numpy as np

from mpitrain.metrics import ExactSums, exact_product


def test_sums_are_those_of_fractions():
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((500, 2)) * 10.0 ** rng.integers(-300, 300, (500, 2))
    values[::50] = 5e-324
    sums = ExactSums(2)
    sums.add(values[:200])
    sums.add(values[200:])
    expected = [sum(map(Fraction, values[:, k].tolist())) for k in range(2)]
    assert [sums.fraction(k) for k in range(2)] == expected
    assert sums.values().tolist() == [float(fraction) for fraction in expected] == [math.fsum(v) for v in values.T]


def test_sums_of_what_is_not_finite():
    sums = ExactSums(4)
    sums.add(np.array([[np.inf, np.nan, 1.0, 1e308], [-np.inf, 1.0, np.inf, 1e308]]))
    np.testing.assert_equal(sums.values(), [np.nan, np.nan, np.inf, np.inf])
    assert sums.fraction(0) is None
    assert sums.fraction(3) == 2 * Fraction(1e308)


def test_products_are_exact():
    rng = np.random.default_rng(7)
    a, b, c = rng.standard_normal((3, 100)) * 1e5
    terms = exact_product(a, b, c)
    for k in range(100):
        assert sum(Fraction(term[k].item()) for term in terms) == Fraction(a[k]) * Fraction(b[k]) * Fraction(c[k])
