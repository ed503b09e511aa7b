"""Reduce: rank 0 ends with the sum of all ranks' buffers."""

from .binomial import binomial
from .chain import chain

__all__ = ["binomial", "chain"]
