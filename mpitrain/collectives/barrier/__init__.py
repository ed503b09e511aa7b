"""Barrier: no rank leaves before all ranks have entered."""

from .dissemination import dissemination

__all__ = ["dissemination"]
