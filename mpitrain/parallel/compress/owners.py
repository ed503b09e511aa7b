"""Exchange of elementwise codecs: chunk r of a bucket is summed by rank r, its owner.

    encode | all-to-all of encoded chunks | decode, sum in float32, encode | all-gather of encoded sums | decode

Each number is rounded twice, whatever the number of ranks, and every rank decodes the same bytes. Adding up encoded
numbers on their way around a ring would round them P times.

An owner adds its own chunk as it is. So the place of that chunk in its errors is free, and holds the error of the
second encoding (the server's error of Tang et al. 2021, "1-bit Adam").
"""

from abc import abstractmethod
from typing import Any

import numpy as np

from ...collectives.step import chunk_bounds
from ...device import device_of
from ...ops.carry import add_error
from .codec import BucketPlan, Codec, Span, Stage, Wire

ALIGNMENT = 64  # bytes of a part of a message


class BlockCodec(Codec):
    """Codec that encodes blocks of elements one by one.

    Attributes
    ----------
    block, block_bytes : int
        Elements of a block, and bytes that it takes.
    """

    block: int = 1
    block_bytes: int = 4

    def __init__(self, *, feedback: bool = True):
        self.feedback = feedback

    @abstractmethod
    def encode(self, x: np.ndarray, error: np.ndarray, message: np.ndarray, factors: tuple[Any, Any, Any]) -> None:
        """Encode ``x``; see ``ops.compress`` for the error and its factors: numbers, or arrays () of its device."""

    @abstractmethod
    def decode(self, message: np.ndarray, y: np.ndarray, add: bool) -> None:
        """Write decoded numbers to ``y``, or add them."""

    def message_bytes(self, num_elements: int) -> int:
        """Return the bytes of this many elements."""
        return -(-num_elements // self.block) * self.block_bytes

    def plan(self, span: Span, wire: Wire) -> BucketPlan:
        """Return the exchange of a bucket by chunk owners."""
        exchange = _OwnersExchange(self, span, wire)
        return BucketPlan(exchange.stages, exchange.decode_sums, self.message_bytes(span.gradient.size))


class _OwnersExchange:
    def __init__(self, codec: BlockCodec, span: Span, wire: Wire):
        self._codec, self._scale, self._rank = codec, span.scale, wire.rank
        chunks = [_chunk(span.gradient.size, codec.block, wire.size, rank) for rank in range(wire.size)]
        self._gradients = [span.gradient[chunk] for chunk in chunks]
        self._errors = [span.error[chunk] if span.error.size else span.error for chunk in chunks]
        longest = max(chunk.stop - chunk.start for chunk in chunks)
        length = -(-codec.message_bytes(longest) // ALIGNMENT) * ALIGNMENT
        sent, sums = (device_of(span.gradient).zeros((wire.size * length,), np.uint8) for _ in range(2))
        turn, gather = wire.turn(sent, ""), wire.gather(sums, " (sums)")
        self._sent, self._arrived, self._sums = (
            array.reshape(wire.size, length) for array in (sent, turn.result, sums)
        )
        self.stages = [Stage(self._encode_gradients, turn), Stage(self._encode_sum, gather)]

    def _encode_gradients(self) -> None:
        scale = self._scale
        factors = scale.inject, scale.keep, scale.inverse
        for rank, (gradient, error) in enumerate(zip(self._gradients, self._errors, strict=True)):
            if rank != self._rank:
                self._codec.encode(gradient, error, self._sent[rank], factors)
            elif error.size:
                add_error(gradient, error, scale.inject, None)

    def _encode_sum(self) -> None:
        own, error = self._gradients[self._rank], self._errors[self._rank]
        for rank, message in enumerate(self._arrived):
            if rank != self._rank:
                self._codec.decode(message, own, True)
        self._codec.encode(own, error, self._sums[self._rank], (0.0, self._scale.keep, self._scale.inverse))

    def decode_sums(self) -> None:
        """Write the sums of all chunks to the gradients."""
        for gradient, message in zip(self._gradients, self._sums, strict=True):
            self._codec.decode(message, gradient, False)


def _chunk(num_elements: int, block: int, size: int, rank: int) -> slice:
    """Return the elements of a rank's chunk, in whole blocks."""
    blocks = chunk_bounds(-(-num_elements // block), size, rank)
    return slice(min(num_elements, blocks.start * block), min(num_elements, blocks.stop * block))
