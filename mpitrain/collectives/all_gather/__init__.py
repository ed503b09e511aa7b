"""All-gather: chunk r of rank r ends on every rank."""

from .bruck import bruck
from .recursive_doubling import recursive_doubling
from .ring import ring

__all__ = ["bruck", "recursive_doubling", "ring"]
