"""Named memory that is allocated once and used again."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np


class Buffers:
    """Arrays by owner and name, kept from call to call.

    Parameters
    ----------
    allocate : callable(shape, dtype) -> array
        ``Device.empty`` of the device on which the arrays live.
    dtype : numpy dtype
        The default of ``empty``.
    """

    def __init__(self, allocate: Callable[[tuple[int, ...], Any], Any], dtype: Any = np.float32):
        self._allocate = allocate
        self.dtype = np.dtype(dtype)
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
