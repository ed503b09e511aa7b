"""Exact sums of float64 numbers: the same bits in any order, and thus on any number of ranks.

A number is m 2^(e - 53) with a whole m below 2^53. Whole numbers add without rounding, so the m of each exponent e are
summed as integers (in two halves, which int64 holds), and only the result is rounded, once. This is the long
accumulator of Kulisch (2013, "Computer Arithmetic and Validity"), with as many places as there are exponents.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

State = tuple[dict[int, tuple[np.ndarray, np.ndarray]], tuple[np.ndarray, np.ndarray]]

_DIGITS, _HALF = 53, 26
_MOST = 1 << 20  # numbers added in one go: their halves, summed in float64, stay whole


class ExactSums:
    """``size`` exact sums.

    Memory is 16 bytes for each sum and each exponent that occurs (about twenty in figures of one kind). A sum holds
    2^36 numbers. NaN and infinities add as they do in float64.
    """

    def __init__(self, size: int):
        self._size = size
        self._halves: dict[int, np.ndarray] = {}  # of each exponent: (2, size) int64, the upper and the lower halves
        self._odd = np.zeros(size)  # what is not finite

    def add(self, values: Any, index: np.ndarray | None = None) -> None:
        """Add numbers.

        Parameters
        ----------
        values : (N, ...) array of numbers
        index : array of int, optional
            Which sum each number belongs to; broadcast to ``values``. By default the last axis is that of the sums.
        """
        values = np.asarray(values, np.float64)
        index = np.broadcast_to(np.arange(self._size) if index is None else index, values.shape).reshape(-1)
        values = values.reshape(-1)
        for first in range(0, values.size, _MOST):
            part = slice(first, first + _MOST)
            self._add(values[part], index[part])

    def _add(self, values: np.ndarray, index: np.ndarray) -> None:
        finite = np.isfinite(values)
        if not finite.all():
            with np.errstate(invalid="ignore"):  # inf - inf is NaN, as it should be
                np.add.at(self._odd, index[~finite], values[~finite])
            values, index = values[finite], index[finite]
        fractions, exponents = np.frexp(values)
        whole = np.ldexp(fractions, _DIGITS).astype(np.int64)
        upper, lower = whole >> _HALF, whole & ((1 << _HALF) - 1)
        for exponent in np.unique(exponents).tolist():
            of_it = exponents == exponent
            halves = self._halves.setdefault(exponent, np.zeros((2, self._size), np.int64))
            for sums, half in zip(halves, (upper, lower)):
                sums += np.bincount(index[of_it], half[of_it], self._size).astype(np.int64)

    def state(self) -> State:
        """Return the sums that are not zero, for other ranks."""
        places = {exponent: np.flatnonzero(halves.any(axis=0)) for exponent, halves in self._halves.items()}
        odd = np.flatnonzero(self._odd)
        return {e: (at, self._halves[e][:, at]) for e, at in places.items() if at.size}, (odd, self._odd[odd])

    def merge(self, states: Sequence[State]) -> None:
        """Replace the sums by those of all ``states``."""
        self._halves, self._odd = {}, np.zeros(self._size)
        for parts, (odd, values) in states:
            for exponent, (at, halves) in parts.items():
                self._halves.setdefault(exponent, np.zeros((2, self._size), np.int64))[:, at] += halves
            with np.errstate(invalid="ignore"):
                self._odd[odd] += values

    def values(self) -> np.ndarray:
        """Return the sums as (size,) float64, each rounded once."""
        found = self._odd.copy()
        lowest = min(self._halves, default=0)
        occupied = np.zeros(self._size, bool)
        for halves in self._halves.values():
            occupied |= halves.any(axis=0)
        for place in np.flatnonzero(occupied & np.isfinite(found)).tolist():
            found[place] += _to_float(self._whole(place, lowest), lowest - _DIGITS)
        return found

    def fraction(self, place: int) -> Fraction | None:
        """Return one sum as it is; None if it is not finite."""
        if self._odd[place] != 0:
            return None
        lowest = min(self._halves, default=0)
        return self._whole(place, lowest) * Fraction(2) ** (lowest - _DIGITS)

    def _whole(self, place: int, lowest: int) -> int:
        """Return one sum as a multiple of 2^(lowest - 53)."""
        parts = ((exponent, *halves[:, place].tolist()) for exponent, halves in self._halves.items())
        return sum(((upper << _HALF) + lower) << (exponent - lowest) for exponent, upper, lower in parts)


def exact_product(*factors: np.ndarray) -> list[np.ndarray]:
    """Return arrays whose sum is the product of ``factors`` without rounding (Dekker 1971).

    Numbers beyond 1e290 give NaN, and products below 1e-290 are rounded.
    """
    terms = [np.asarray(factors[0], np.float64)]
    for factor in factors[1:]:
        terms = [part for term in terms for part in _two_product(term, np.asarray(factor, np.float64))]
    return terms


def _two_product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(over="ignore", invalid="ignore"):
        product = a * b
        (a_high, a_low), (b_high, b_low) = _split(a), _split(b)
        error = a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)
    return product, error


def _split(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two halves of 26 digits with the sum ``a`` (Veltkamp 1968)."""
    big = a * (2.0**27 + 1)
    high = big - (big - a)
    return high, a - high


def _to_float(whole: int, exponent: int) -> float:
    try:
        return float(whole * Fraction(2) ** exponent)
    except OverflowError:
        return float("inf") if whole > 0 else float("-inf")
