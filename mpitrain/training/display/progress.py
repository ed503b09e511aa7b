"""The display of rank 0 while it trains: a live bar on a terminal, a line for each evaluation elsewhere."""

from typing import TYPE_CHECKING

from ...config import Run
from .progress_log import ProgressLog, Silent
from .silent_console import SilentConsole

if TYPE_CHECKING:  # rich, by which these print, is not loaded by ranks without output
    from .console import PlainConsole


def make_progress(kind: str, console: "PlainConsole | SilentConsole", settings: Run | int) -> ProgressLog:
    """Return the display for auto, bar, lines or none."""
    if kind == "auto":
        kind = "bar" if console.is_terminal and not console.is_dumb_terminal else "lines"
    if kind == "bar" and not isinstance(console, SilentConsole):
        from .bar import Bar

        return Bar(console, settings)
    return (ProgressLog if kind == "lines" else Silent)(console, settings)
