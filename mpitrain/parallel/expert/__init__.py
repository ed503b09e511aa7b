"""Axis expert: each rank has some experts, to which tokens travel, and some rows of embedding tables, which travel."""

from .divided_columns import DividedColumns
from .divided_experts import DividedExperts

__all__ = ["DividedColumns", "DividedExperts"]
