"""Exchange of linear codecs: messages of float32 that any all-reduce sums.

The step's header travels before the first message, as it does with whole gradients.
"""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Protocol

import numpy as np

from ...device import device_of
from .carry import make_carry
from .codec import BucketPlan, Codec, Span, Stage, Wire


class LinearBucket(Protocol):
    """A bucket in one or two messages, the second of which may depend on the sum of the first.

    Attributes
    ----------
    lengths : sequence of int
        Elements of each message.
    """

    lengths: Sequence[int]

    def encode(self, number: int, u: np.ndarray, messages: Sequence[np.ndarray]) -> None:
        """Write message ``number`` of ``u``."""

    def subtract(self, u: np.ndarray, messages: Sequence[np.ndarray]) -> None:
        """Subtract from ``u`` what this rank's messages say, before the last one is summed."""

    def decode(self, messages: Sequence[np.ndarray], gradient: np.ndarray) -> None:
        """Write the gradient that the summed messages say."""


class LinearCodec(Codec):
    """Codec whose messages are sums of float32."""

    linear: ClassVar[bool] = True

    @abstractmethod
    def bucket(self, span: Span) -> LinearBucket:
        """Return a bucket's messages."""

    def plan(self, span: Span, wire: Wire) -> BucketPlan:
        """Return the exchange of a bucket by all-reduces."""
        return _LinearExchange(self.bucket(span), span).plan(wire)


class _LinearExchange:
    def __init__(self, bucket: LinearBucket, span: Span):
        self._bucket, self._span, self._carry = bucket, span, make_carry(span)
        head = span.header.size
        empty = device_of(span.gradient).empty
        self._sent = [empty((length + head * (k == 0),), np.float32) for k, length in enumerate(bucket.lengths)]
        self._messages = [message[head * (k == 0) :] for k, message in enumerate(self._sent)]
        self._u = span.gradient

    def plan(self, wire: Wire) -> BucketPlan:
        """Return the stages."""
        names = ["", " (second sum)"]
        requests = [wire.sum(message, name) for message, name in zip(self._sent, names, strict=False)]
        stages = [Stage(partial(self._encode, k), request) for k, request in enumerate(requests)]
        return BucketPlan(stages, self._end, sum(message.nbytes for message in self._messages))

    def _encode(self, number: int) -> None:
        head = self._span.header
        if number == 0:
            self._sent[0][: head.size] = head
            self._u = self._carry.take()
        self._bucket.encode(number, self._u, self._messages)
        if self._carry.carries and number == len(self._messages) - 1:
            self._bucket.subtract(self._u, self._messages)
        self._carry.spoil(self._messages[number])

    def _end(self) -> None:
        self._span.header[...] = self._sent[0][: self._span.header.size]
        self._carry.check(self._messages)  # those of all ranks
        self._carry.put()
        self._bucket.decode(self._messages, self._span.gradient)
