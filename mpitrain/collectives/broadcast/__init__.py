"""Broadcast: rank 0's buffer ends on every rank.

The files are written for rank 0 as the root; ``root=`` puts another in its place (see combinators.py).
"""

from .binomial import binomial
from .chain import chain
from .scatter_all_gather import scatter_all_gather

__all__ = ["binomial", "chain", "scatter_all_gather"]
