"""Scatter: chunk r of rank 0 ends on rank r."""

from .binomial import binomial

__all__ = ["binomial"]
