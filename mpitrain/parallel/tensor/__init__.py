"""Tensor parallelism: layers whose matrices are divided among ranks, made of local layers and moves."""

from .linear import ColumnLinear, RowLinear

__all__ = ["ColumnLinear", "RowLinear"]
