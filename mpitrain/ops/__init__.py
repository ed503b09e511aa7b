"""Forward and backward functions on arrays: the NumPy functions, and the registration of their faster paths.

Layers import an op from its module (``from ..ops.linear import ...``); ``OPS`` holds all by name. Importing the package
registers the paths in C (``cpu/``); those in CUDA (``cuda/``) follow with the first array on a device, or with ``OPS``.
"""

import importlib
from typing import TYPE_CHECKING, Any

from . import cpu

if TYPE_CHECKING:
    from . import cuda
    from .dispatch import OPS

__all__ = ["OPS", "cpu", "cuda"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    cuda = importlib.import_module(f"{__name__}.cuda")
    return cuda if name == "cuda" else importlib.import_module(f"{__name__}.dispatch").OPS
