"""Spatial parallelism: the rows of images divided among ranks, with halos between the layers."""

from .rules import check, divide

__all__ = ["check", "divide"]
