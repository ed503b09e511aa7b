"""Reduce-scatter: rank r ends with chunk r of the sum."""

from .pairwise import pairwise
from .recursive_halving import recursive_halving
from .ring import ring

__all__ = ["pairwise", "recursive_halving", "ring"]
