"""Scan: rank r ends with the sum of the buffers of ranks 0 to r."""

from .hillis_steele import hillis_steele

__all__ = ["hillis_steele"]
