"""Named memory that is allocated once and used again."""

import math
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

from .loans import Loans

_numbers = count()


class Buffers:
    """Arrays by owner and name, kept from call to call.

    Parameters
    ----------
    allocate : callable(shape, dtype) -> array
        ``Device.empty`` of the device on which the arrays live.
    dtype : numpy dtype
        The default of ``empty`` and ``lend``.
    loans : Loans, optional
        What ``lend`` takes memory from, perhaps together with other buffers; without it, ``lend`` is ``empty``.
    """

    def __init__(
        self, allocate: Callable[[tuple[int, ...], Any], Any], dtype: Any = np.float32, loans: Loans | None = None
    ):
        self._allocate = allocate
        self.dtype = np.dtype(dtype)
        self.loans, self._number = loans, next(_numbers)
        self._buffers: dict[tuple[int, str, np.dtype[Any]], Any] = {}
        self._views: dict[tuple[int, str, np.dtype[Any]], Any] = {}

    @property
    def num_bytes(self) -> int:
        """The bytes of all arrays requested so far."""
        return sum(buffer.nbytes for buffer in self._buffers.values())

    def empty(self, owner: object, name: str, shape: tuple[int, ...], dtype: Any = None) -> Any:
        """Return the array ``name`` of ``owner``: the same memory in every step, with the contents last written.

        A smaller batch (the ragged last one) gets a view of the start of the memory; a larger one replaces it.
        The array is valid until the same name is requested again.
        """
        dtype = self.dtype if dtype is None else np.dtype(dtype)
        key = (id(owner), name, dtype)
        view = self._views.get(key)
        if view is not None and view.shape == shape:
            return view
        size = math.prod(shape)
        buffer = self._buffers.get(key)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[key] = self._allocate((size,), dtype)
        view = self._views[key] = buffer[:size].reshape(shape)
        return view

    def lend(self, owner: object, name: str, shape: tuple[int, ...], dtype: Any = None) -> Any:
        """Return an array with any contents, whose memory others get as soon as nothing refers to it.

        It is valid as long as something does, and until the same name is requested again. So who needs it later keeps a
        reference to it, and does not ask for it by name.
        """
        dtype = self.dtype if dtype is None else np.dtype(dtype)
        key = (id(owner), name, dtype)
        view = self._views.get(key)
        if view is not None and view.shape == shape:  # a small one: in as little time as ``empty``
            return view
        num_bytes = math.prod(shape) * dtype.itemsize
        if self.loans is None or (num_bytes < self.loans.least and not self.loans.has_lent((self._number, *key))):
            return self.empty(owner, name, shape, dtype)
        memory = self.loans.lend((self._number, *key), num_bytes)
        return memory[:num_bytes].view(dtype).reshape(shape)


class Blocks:
    """Memory that several ``Overlay`` use in turn, each from the first block on.

    Attributes
    ----------
    arrays : list of array
        Each as large as the largest array that an ``Overlay`` has put there.
    """

    def __init__(self, allocate: Callable[[tuple[int, ...], Any], Any]):
        self.allocate = allocate
        self.arrays: list[Any] = []
        self._nested: Blocks | None = None

    @property
    def nested(self) -> "Blocks":
        """Other blocks, for what is computed while these are in use."""
        if self._nested is None:
            self._nested = Blocks(self.allocate)
        return self._nested

    @property
    def num_bytes(self) -> int:
        """The bytes of these blocks and of those nested."""
        own: int = sum(array.nbytes for array in self.arrays)
        return own if self._nested is None else own + self._nested.num_bytes

    def at_least(self, number: int, num_bytes: int) -> Any:
        """Return block ``number`` as bytes; one that is too small is replaced."""
        while number >= len(self.arrays):
            self.arrays.append(self.allocate((num_bytes,), np.uint8))
        if self.arrays[number].nbytes < num_bytes:
            self.arrays[number] = self.allocate((num_bytes,), np.uint8)
        return self.arrays[number]


class Overlay(Buffers):
    """Buffers in blocks that others use, too: the n-th array that is requested for the first time lies in block n.

    Arrays are valid until another ``Overlay`` of the blocks is used.
    """

    def __init__(self, blocks: Blocks, dtype: Any = np.float32, loans: Loans | None = None):
        super().__init__(blocks.allocate, dtype, loans)
        self._blocks = blocks
        self._numbers: dict[tuple[int, str, np.dtype[Any]], int] = {}

    def empty(self, owner: object, name: str, shape: tuple[int, ...], dtype: Any = None) -> Any:
        """Return the array ``name`` of ``owner``."""
        dtype = self.dtype if dtype is None else np.dtype(dtype)
        number = self._numbers.setdefault((id(owner), name, dtype), len(self._numbers))
        num_bytes = math.prod(shape) * dtype.itemsize
        return self._blocks.at_least(number, num_bytes)[:num_bytes].view(dtype).reshape(shape)
