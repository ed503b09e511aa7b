"""Scatter: chunk r of rank 0 ends on rank r.

The files are written for rank 0 as the root; ``root=`` puts another in its place (see combinators.py).
"""

from .binomial import binomial

__all__ = ["binomial"]
