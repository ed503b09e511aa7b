"""Elementwise codecs: bf16, fp16, int8 and signs. Sums are computed in float32, by the owner of a chunk."""

from typing import Any

import numpy as np

from ...errors import UserError
from ...ops import compress
from .owners import BlockCodec

Factors = tuple[Any, Any, Any]
SHORTEST_BLOCK, LONGEST_BLOCK = 16, 4096


class Bf16(BlockCodec):
    """The upper half of a float32: 8 bits of precision and every exponent."""

    block, block_bytes = 1, 2

    def encode(self, x: np.ndarray, error: np.ndarray, message: np.ndarray, factors: Factors) -> None:
        """Encode ``x``."""
        compress.encode_bf16(x, error, message, *factors)

    def decode(self, message: np.ndarray, y: np.ndarray, add: bool) -> None:
        """Write decoded numbers to ``y``, or add them."""
        compress.decode_bf16(message, y, add)


class Fp16(BlockCodec):
    """Half precision, 11 bits, times a power of two for each 256 elements, so that nothing overflows."""

    block, block_bytes = compress.BLOCK, 4 + 2 * compress.BLOCK

    def encode(self, x: np.ndarray, error: np.ndarray, message: np.ndarray, factors: Factors) -> None:
        """Encode ``x``."""
        compress.encode_fp16(x, error, message, *factors)

    def decode(self, message: np.ndarray, y: np.ndarray, add: bool) -> None:
        """Write decoded numbers to ``y``, or add them."""
        compress.decode_fp16(message, y, add)


class Int8(BlockCodec):
    """Whole numbers from -127 to 127, times a scale for each block of elements."""

    def __init__(self, *, block: int = 256, feedback: bool = True):
        if not SHORTEST_BLOCK <= block <= LONGEST_BLOCK or block % SHORTEST_BLOCK:
            wanted = f"a multiple of {SHORTEST_BLOCK} up to {LONGEST_BLOCK}"
            raise UserError(f"the codec 'int8': block is {block}, but must be {wanted}")
        self.block, self.block_bytes, self.feedback = block, 4 + block, feedback

    def encode(self, x: np.ndarray, error: np.ndarray, message: np.ndarray, factors: Factors) -> None:
        """Encode ``x``."""
        compress.encode_int8(x, error, message, *factors, self.block)

    def decode(self, message: np.ndarray, y: np.ndarray, add: bool) -> None:
        """Write decoded numbers to ``y``, or add them."""
        compress.decode_int8(message, y, add, self.block)


class Sign(BlockCodec):
    """The signs, one bit each, times the mean magnitude of each 256 elements (Seide et al. 2014, 1-bit SGD)."""

    block, block_bytes = compress.BLOCK, 4 + compress.BLOCK // 8

    def encode(self, x: np.ndarray, error: np.ndarray, message: np.ndarray, factors: Factors) -> None:
        """Encode ``x``."""
        compress.encode_sign(x, error, message, *factors)

    def decode(self, message: np.ndarray, y: np.ndarray, add: bool) -> None:
        """Write decoded numbers to ``y``, or add them."""
        compress.decode_sign(message, y, add)
