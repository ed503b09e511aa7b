"""Gather: chunk r of rank r ends on rank 0."""

from .binomial import binomial

__all__ = ["binomial"]
