"""Errors of codecs that work on whole arrays: added to the gradient, and kept from what is left (see ``codec.py``)."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ...device import device_of
from ...ops import carry as ops
from .codec import Span


class Carry(Protocol):
    """The error of a bucket whose codec works on whole arrays.

    Attributes
    ----------
    carries : bool
        True if what is left has to be kept.
    """

    carries: bool

    def take(self) -> np.ndarray:
        """Return the gradient plus the error, where it may be changed."""

    def spoil(self, message: np.ndarray) -> None:
        """Fill a message with NaN, if the gradient is not finite: it may be among what is not sent."""

    def check(self, sums: Sequence[np.ndarray]) -> None:
        """Note whether summed messages are finite."""

    def put(self) -> None:
        """Keep what is left, before the sums are written to the gradient; nothing, if a number was not finite."""


def make_carry(span: Span) -> Carry:
    """Return the error of a bucket, on the device of its gradient."""
    return HostCarry(span) if isinstance(span.gradient, np.ndarray) else DeviceCarry(span)


class HostCarry:
    """The error of a bucket where it is worked on in place, in float32 sums.

    Parameters
    ----------
    span : Span
    """

    def __init__(self, span: Span):
        self._span = span
        self.carries = self._finite = False

    def take(self) -> np.ndarray:
        """Return the gradient plus the error, in the memory of the error; without feedback the gradient itself."""
        span, error = self._span, self._span.error
        self.carries = bool(error.size) and span.scale.weight > 0
        u = span.gradient
        if self.carries:
            np.multiply(error, np.float32(span.scale.inject), out=error)
            u = np.add(error, span.gradient, out=error)
        self._finite = is_finite(u)
        return u

    def spoil(self, message: np.ndarray) -> None:
        """Fill a message with NaN, if the gradient is not finite."""
        if not self._finite:
            message.fill(np.nan)

    def check(self, sums: Sequence[np.ndarray]) -> None:
        """Note whether summed messages are finite."""
        self._finite &= all(is_finite(message) for message in sums)

    def put(self) -> None:
        """Keep what is left in the memory of the error."""
        if self.carries and not self._finite:
            self._span.error.fill(0)
        elif self.carries:
            error = self._span.error
            np.multiply(error, np.float32(self._span.scale.inverse), out=error)


class DeviceCarry:
    """The error of a bucket on a device, where the host knows neither the weight nor whether numbers are finite.

    The sum of gradient and error is in the memory of the gradient.

    Parameters
    ----------
    span : Span
    """

    def __init__(self, span: Span):
        self._span, self.carries = span, bool(span.error.size)
        self._bad = device_of(span.gradient).zeros((1,))

    def take(self) -> np.ndarray:
        """Return the gradient, to which the error is added."""
        span = self._span
        self._bad.fill(0)
        ops.add_error(span.gradient, span.error, span.scale.inject, self._bad)
        return span.gradient

    def spoil(self, message: np.ndarray) -> None:
        """Fill a message with NaN, if the gradient is not finite."""
        ops.spoil(message, self._bad)

    def check(self, sums: Sequence[np.ndarray]) -> None:
        """Note whether summed messages are finite."""
        for message in sums:
            ops.add_error(message, message[:0], 0.0, self._bad)

    def put(self) -> None:
        """Keep what is left in the gradient."""
        span = self._span
        if self.carries:
            ops.keep_rest(span.gradient, span.error, span.scale.keep, span.scale.inverse, self._bad)


def is_finite(array: np.ndarray) -> bool:
    """Return whether all elements are finite; False also where their sum overflows, as their squares do long before."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.sum()))
