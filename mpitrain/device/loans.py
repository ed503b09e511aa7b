"""Memory that is lent to arrays and lent again as soon as nothing refers to them.

The life of such an array is decided by references alone, here and nowhere else: who needs it keeps it, as in
``ctx[layer] = x``, in a variable, in a function that is called later, or in a message on its way. NumPy makes every
view refer to the array that owns the memory, so the number of references to that one tells whether anything is left.
"""

import sys
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

LEAST_BYTES = 1 << 17
"""Bytes from which on memory is lent: a smaller array keeps its own, which is found in less time."""

MOST_ROOM = 4
"""A free block is lent to an array that it has no more than so many times the room for; a key's own block always."""


class Loans:
    """Blocks of memory of the host, each lent to one array at a time.

    Parameters
    ----------
    allocate : callable(shape, dtype) -> array
        ``Device.empty`` of a device whose work is done when the call returns.

    Attributes
    ----------
    least : float
        Bytes from which on memory is lent (``Buffers.lend``).
    """

    def __init__(self, allocate: Callable[[tuple[int, ...], Any], Any]):
        self._allocate = allocate
        self.least: float = LEAST_BYTES
        self._blocks: list[Block] = []
        self._last: dict[Hashable, Block] = {}

    @property
    def num_bytes(self) -> int:
        """The bytes of all blocks."""
        return sum(block.num_bytes for block in self._blocks)

    @property
    def used_bytes(self) -> int:
        """The bytes of the blocks to which something refers."""
        return sum(block.num_bytes for block in self._blocks if not block.is_free())

    def has_lent(self, key: Hashable) -> bool:
        """Return whether memory was lent to ``key``, which takes none of its own for a shorter batch then."""
        return key in self._last

    def lend(self, key: Hashable, num_bytes: int) -> np.ndarray:
        """Return at least ``num_bytes`` of memory, with any contents.

        It is lent until nothing refers to it or to a view of it, or until the same key asks again. A key gets the
        memory that it had before where that is free, so that a step like the one before takes no new memory.
        """
        block = self._last.get(key)
        if block is None or block.num_bytes < num_bytes or not (block.borrower == key or block.is_free()):
            block = self._last[key] = self._other(key, block, num_bytes)
        block.borrower = key
        return block.memory

    def _other(self, key: Hashable, own: "Block | None", num_bytes: int) -> "Block":
        """Return the smallest free block that is large enough; else a new one, in place of one that was too small."""
        free = [block for block in self._blocks if block.is_free()]
        fitting = [block for block in free if num_bytes <= block.num_bytes <= MOST_ROOM * num_bytes]
        if fitting:
            return min(fitting, key=Block.size)
        too_small = [block for block in free if block.num_bytes < num_bytes]
        if own is not None and own.borrower == key and own in self._blocks:
            self._drop(own)
        elif too_small:
            self._drop(max(too_small, key=Block.size))
        self._blocks.append(Block(self._allocate, num_bytes))
        return self._blocks[-1]

    def _drop(self, dropped: "Block") -> None:
        """Forget a block: its memory is freed when nothing refers to it."""
        self._blocks.remove(dropped)
        for key in [key for key, block in self._last.items() if block is dropped]:
            del self._last[key]


class Block:
    """Memory that is lent as a whole.

    Attributes
    ----------
    memory : (num_bytes,) array of uint8
    borrower : Hashable
        The key that it was lent to last.
    """

    __slots__ = ("_idle", "_owner", "borrower", "memory", "num_bytes")

    def __init__(self, allocate: Callable[[tuple[int, ...], Any], Any], num_bytes: int):
        self.memory: np.ndarray = allocate((num_bytes,), np.uint8)[:]
        self.num_bytes = num_bytes
        self.borrower: Hashable = None
        self._owner = self.memory.base
        self._idle = self._references()

    def is_free(self) -> bool:
        """Return whether no array but ``memory`` lies in it."""
        return self._references() == self._idle

    def size(self) -> int:
        """Return the number of bytes."""
        return self.num_bytes

    def _references(self) -> int:
        return sys.getrefcount(self._owner)
