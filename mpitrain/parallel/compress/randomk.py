"""Random-k: elements at random places, the same on all ranks. So it is linear, and places need not be sent.

Source: Stich, Cordonnier & Jaggi 2018, "Sparsified SGD with memory".
"""

import math
from collections.abc import Sequence

import numpy as np

from ...device import device_of
from ...ops.places import clear_places, put_places, take_places
from .codec import Span, check_fraction
from .linear import LinearBucket, LinearCodec


class RandomK(LinearCodec):
    """Elements of each bucket (at least one) at places drawn by (seed, step, bucket)."""

    def __init__(self, *, fraction: float = 0.01, seed: int = 0, feedback: bool = True):
        self.fraction, self.seed, self.feedback = check_fraction(fraction, "randomk"), seed, feedback

    def count(self, num_elements: int) -> int:
        """Return k."""
        return math.ceil(self.fraction * num_elements)

    def bucket(self, span: Span) -> LinearBucket:
        """Return a bucket's message."""
        return _Drawn(self, span)


class _Drawn:
    def __init__(self, codec: RandomK, span: Span):
        self._codec, self._span = codec, span
        self.lengths: Sequence[int] = (codec.count(span.gradient.size),)
        self._factor = 1.0 if codec.feedback else span.gradient.size / max(1, self.lengths[0])
        self._device = device_of(span.gradient)
        self._drawn = self._device.pinned_empty((self.lengths[0],), np.int32)
        self._places = self._device.empty(self._drawn.shape, np.int32)

    def encode(self, number: int, u: np.ndarray, messages: Sequence[np.ndarray]) -> None:
        """Write the elements; without feedback times n / k, so that their mean is right."""
        key = [self._codec.seed & 0xFFFFFFFF, self._span.scale.step << 20 | self._span.number]
        draws = np.random.Generator(np.random.Philox(key=key))
        self._drawn[...] = draws.choice(u.size, self.lengths[0], replace=False, shuffle=False)
        self._drawn.sort()  # a device has read those of the step before, for whose sums the host has waited
        self._device.copy_from_host(self._places, self._drawn)
        take_places(u, self._places, messages[0], self._factor)

    def subtract(self, u: np.ndarray, messages: Sequence[np.ndarray]) -> None:
        """Clear the elements that are sent."""
        clear_places(u, self._places)

    def decode(self, messages: Sequence[np.ndarray], gradient: np.ndarray) -> None:
        """Write the elements, and zeros elsewhere."""
        gradient.fill(0)
        put_places(gradient, self._places, messages[0], False)
