"""Reduce: rank 0 ends with the sum of all ranks' buffers.

The files are written for rank 0 as the root; ``root=`` puts another in its place (see combinators.py).
"""

from .binomial import binomial
from .chain import chain

__all__ = ["binomial", "chain"]
