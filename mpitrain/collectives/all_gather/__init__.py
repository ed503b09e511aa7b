"""All-gather: chunk r of rank r ends on every rank."""

from .bruck import bruck
from .pat import pat
from .recursive_doubling import recursive_doubling
from .ring import ring

__all__ = ["bruck", "pat", "recursive_doubling", "ring"]
