"""Top-k: the largest elements of a bucket with their places, gathered from all ranks and summed in order of rank.

Source: Lin et al. 2018, "Deep gradient compression". A rank receives 8 k bytes from each other one, so it pays as long
as P times the fraction is well below 1.
"""

import math

import numpy as np

from ...ops.compress import largest_places
from .codec import BucketPlan, Carry, Codec, Span, Stage, Wire, check_fraction


class TopK(Codec):
    """The largest elements of each bucket (at least one) with their places, from every rank to all others."""

    def __init__(self, *, fraction: float = 0.01, feedback: bool = True):
        self.fraction, self.feedback = check_fraction(fraction, "topk"), feedback

    def count(self, num_elements: int) -> int:
        """Return k."""
        return math.ceil(self.fraction * num_elements)

    def plan(self, span: Span, wire: Wire) -> BucketPlan:
        """Return the exchange of a bucket by an all-gather."""
        return _Gathered(self, span, wire).plan


class _Gathered:
    def __init__(self, codec: TopK, span: Span, wire: Wire):
        self._count, self._span, self._carry = codec.count(span.gradient.size), span, Carry(span)
        message = np.zeros(wire.size * 8 * self._count, np.uint8)
        request = wire.gather(message, "")
        parts = message.reshape(wire.size, 8 * self._count)
        self._places = parts[:, : 4 * self._count].view(np.int32)
        self._values = parts[:, 4 * self._count :].view(np.float32)
        self._rank, self._own = wire.rank, np.empty(self._count, np.int64)
        self.plan = BucketPlan([Stage(self._encode, request)], self._decode, 8 * self._count)

    def _encode(self) -> None:
        u = self._carry.take()
        places = self._own
        largest_places(u, places)
        self._places[self._rank], self._values[self._rank] = places, u[places]
        if self._carry.carries:
            u[places] = 0

    def _decode(self) -> None:
        gradient = self._span.gradient
        gradient.fill(0)
        for places, values in zip(self._places, self._values, strict=True):
            with np.errstate(invalid="ignore"):
                gradient[places] += values
        self._carry.put()
