"""Monitors: places that the figures of a run go to besides its directory (``--monitor``)."""

from .base import Monitor

__all__ = ["Monitor"]
