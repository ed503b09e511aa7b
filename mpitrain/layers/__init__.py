"""Layers: one a file, each with an explicit forward and backward."""

from .base import Layer
from .linear import Linear

__all__ = ["Layer", "Linear"]
