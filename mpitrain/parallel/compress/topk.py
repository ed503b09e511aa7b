"""Top-k: the largest elements of a bucket with their places, gathered from all ranks and summed in order of rank.

Source: Lin et al. 2018, "Deep gradient compression". A rank receives 8 k bytes from each other one, so it pays as long
as P times the fraction is well below 1.
"""

import math

import numpy as np

from ...device import device_of
from ...ops.compress import largest_places
from ...ops.places import clear_places, put_places, take_places
from .carry import make_carry
from .codec import BucketPlan, Codec, Span, Stage, Wire, check_fraction


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
        self._count, self._span, self._carry = codec.count(span.gradient.size), span, make_carry(span)
        device, length = device_of(span.gradient), 4 * self._count
        message = device.zeros((wire.size * 2 * length,), np.uint8)
        request = wire.gather(message, "")
        starts = range(0, message.size, max(1, 2 * length))
        self._places = [message[start : start + length].view(np.int32) for start in starts]
        self._values = [message[start + length : start + 2 * length].view(np.float32) for start in starts]
        self._rank, self._own = wire.rank, device.empty((self._count,), np.int64)
        self.plan = BucketPlan([Stage(self._encode, request)], self._decode, 2 * length)

    def _encode(self) -> None:
        u = self._carry.take()
        if not self._count:
            return
        places = self._places[self._rank]
        largest_places(u, self._own)
        places[...] = self._own
        take_places(u, places, self._values[self._rank], 1.0)
        if self._carry.carries:
            clear_places(u, places)

    def _decode(self) -> None:
        gradient = self._span.gradient
        self._carry.put()
        gradient.fill(0)
        for places, values in zip(self._places, self._values, strict=True):
            put_places(gradient, places, values, True)
