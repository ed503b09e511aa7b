"""The console of ranks that print nothing: rich, by which others print, takes part of their start."""

from typing import Any


class SilentConsole:
    """Console without output, with the methods of ``PlainConsole`` that a run calls on all ranks."""

    is_terminal = is_dumb_terminal = False
    width = 0

    def say(self, text: str, style: str = "") -> None:
        """Print nothing."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print nothing."""
