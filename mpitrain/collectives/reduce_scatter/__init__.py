"""Reduce-scatter: rank r ends with chunk r of the sum."""

from .pairwise import pairwise
from .pat import pat
from .recursive_halving import recursive_halving
from .ring import ring

__all__ = ["pairwise", "pat", "recursive_halving", "ring"]
