"""Scratch memory for ops, on the device of their arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..device import device_of

Keep = Callable[..., Any]
"""keep(name, shape, dtype=None) returns memory that belongs to one layer until its backward is done."""


def workspace(like: Any, name: str, shape: tuple[int, ...], dtype: Any = None) -> Any:
    """Return scratch memory on the device of ``like``, of its dtype by default: valid until the calling op returns."""
    return device_of(like).workspace(name, shape, like.dtype if dtype is None else dtype)


def constant(shape: tuple[int, ...], value: float, like: Any) -> Any:
    """Return an array of ``value``, of the dtype and the device of ``like``.

    ``np.full(..., like=like)`` passes arguments on that the function of CuPy does not take.
    """
    made = np.empty(shape, like.dtype, like=like)
    made.fill(value)
    return made
