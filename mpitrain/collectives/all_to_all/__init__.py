"""All-to-all: chunk d of rank s ends as chunk s of rank d."""

from .bruck import bruck
from .pairwise import pairwise

__all__ = ["bruck", "pairwise"]
