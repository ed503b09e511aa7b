"""Random-k: elements at random places, the same on all ranks. So it is linear, and places need not be sent.

Source: Stich, Cordonnier & Jaggi 2018, "Sparsified SGD with memory".
"""

import math
from collections.abc import Sequence

import numpy as np

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
        self._factor = np.float32(1 if codec.feedback else span.gradient.size / max(1, self.lengths[0]))
        self._places = np.empty(0, np.int64)

    def encode(self, number: int, u: np.ndarray, messages: Sequence[np.ndarray]) -> None:
        """Write the elements; without feedback times n / k, so that their mean is right."""
        key = [self._codec.seed & 0xFFFFFFFF, self._span.scale.step << 20 | self._span.number]
        draws = np.random.Generator(np.random.Philox(key=key))
        self._places = draws.choice(u.size, self.lengths[0], replace=False, shuffle=False)
        self._places.sort()
        np.multiply(u[self._places], self._factor, out=messages[0])

    def subtract(self, u: np.ndarray, messages: Sequence[np.ndarray]) -> None:
        """Clear the elements that are sent."""
        u[self._places] = 0

    def decode(self, messages: Sequence[np.ndarray], gradient: np.ndarray) -> None:
        """Write the elements, and zeros elsewhere."""
        gradient.fill(0)
        gradient[self._places] = messages[0]
