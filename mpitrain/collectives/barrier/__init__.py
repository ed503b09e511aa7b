"""Barrier: no rank leaves before every rank has come."""

from .dissemination import dissemination

__all__ = ["dissemination"]
