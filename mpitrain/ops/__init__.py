"""Forward and backward functions on arrays: the NumPy functions, and the registration of their faster paths.

Layers import an op from its module (``from ..ops.linear import ...``); ``OPS`` holds all by name. Importing the package
registers the paths in C (``cpu/``) and in CUDA (``cuda/``).
"""

from . import cpu, cuda
from .dispatch import OPS

__all__ = ["OPS", "cpu", "cuda"]
