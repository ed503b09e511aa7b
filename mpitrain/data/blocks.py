"""Hashes of arrays and files: of all bytes, or of blocks of them where there are many."""

import hashlib
from collections.abc import Callable

import numpy as np

from .rng import BLOCKS, random_bits

WHOLE = 32 << 20  # bytes that are hashed whole
NUM_BLOCKS, BLOCK = 256, 64 << 10
_PAGE = 4096


def digest_bytes(data: np.ndarray) -> str:
    """Return the hash of (n,) bytes, or of blocks of them: the first, the last and one of each stretch in between."""
    return digest_blocks(data.nbytes, lambda start, stop: data[start:stop])


def digest_blocks(count: int, read: Callable[[int, int], np.ndarray]) -> str:
    """Return the hash of ``count`` items, of up to ``WHOLE``, or of blocks of them.

    Parameters
    ----------
    read : callable(start, stop) -> array
        Returns items; their bytes are hashed.
    """
    hashed = hashlib.blake2b(digest_size=16)
    for start, stop in block_ranges(count):
        hashed.update(np.ascontiguousarray(read(start, stop)).data)
    return hashed.hexdigest()


def block_ranges(count: int) -> list[tuple[int, int]]:
    """Return the ranges that are hashed of ``count`` items."""
    if count <= WHOLE:
        return [(start, min(start + (1 << 20), count)) for start in range(0, count, 1 << 20)]
    stretch = count // NUM_BLOCKS
    random = random_bits(np.arange(NUM_BLOCKS), count, BLOCKS) % np.uint64(stretch - BLOCK + 1)
    starts = np.arange(NUM_BLOCKS) * stretch + random.astype(np.int64) // _PAGE * _PAGE
    starts[0], starts[-1] = 0, count - BLOCK
    return [(start, start + BLOCK) for start in starts.tolist()]
