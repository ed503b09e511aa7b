"""Scratch memory for ops, on the device of their arrays."""

from collections.abc import Callable
from typing import Any

from ..device import device_of

Keep = Callable[..., Any]
"""keep(name, shape, dtype=None) returns memory that belongs to one layer until its backward is done."""


def workspace(like: Any, name: str, shape: tuple[int, ...], dtype: Any = None) -> Any:
    """Return scratch memory on the device of ``like``, of its dtype by default: valid until the calling op returns."""
    return device_of(like).workspace(name, shape, like.dtype if dtype is None else dtype)
