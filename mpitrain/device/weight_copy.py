"""Copies of weights in bf16, which products read instead of the fp32 masters.

The optimizer's update writes the copy in the pass that writes the weights. Whatever else changes weights says so
(``Arena.values_changed``); the next reader makes the copy again then.
"""

from typing import Any
from weakref import WeakSet

import numpy as np

from .bf16 import bfloat16


class WeightCopy:
    """The bf16 copy of fp32 weights on a GPU, element by element.

    Parameters
    ----------
    weights : (n,) array of float32

    Attributes
    ----------
    array : (n,) array of bf16
    stale : bool
        True if the weights have changed since it was made.
    """

    def __init__(self, weights: Any, array: Any):
        self.weights, self.array, self.stale = weights, array, True
        self._first: int = weights.data.ptr
        self._stop: int = self._first + weights.nbytes
        self._views: dict[tuple[int, tuple[int, ...]], Any] = {}

    def refresh(self) -> None:
        """Make the copy again if it is stale."""
        if self.stale:
            np.copyto(self.array, self.weights, casting="unsafe")
            self.stale = False

    def holds(self, address: int) -> bool:
        """Return whether the weight at ``address`` is one of these."""
        return self._first <= address < self._stop

    def address_of(self, address: int) -> int:
        """Return the address of the copy of the weight at ``address``."""
        first: int = self.array.data.ptr
        return first + (address - self._first) // 2

    def view_of(self, part: Any) -> Any:
        """Return the copy of ``part``, a C-contiguous view of the weights."""
        key = part.data.ptr, part.shape
        found = self._views.get(key)
        if found is None:
            start = (part.data.ptr - self._first) // 4
            found = self._views[key] = self.array[start : start + part.size].reshape(part.shape)
        return found


class WeightCopies:
    """The copies on one device; each lives as long as its owner refers to it."""

    def __init__(self) -> None:
        self._all: WeakSet[WeightCopy] = WeakSet()

    def make(self, device: Any, weights: Any) -> WeightCopy:
        """Return a copy of ``weights``, stale."""
        made = WeightCopy(weights, device.empty(weights.shape, bfloat16()))
        self._all.add(made)
        return made

    def find(self, weights: Any) -> WeightCopy | None:
        """Return the copy that has ``weights`` in it, up to date; None if there is none."""
        address = weights.data.ptr
        for one in self._all:
            if one.holds(address):
                one.refresh()
                return one
        return None
