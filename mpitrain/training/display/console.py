"""The console: text is printed as it is, and lines are complete wherever the output is not a terminal."""

import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console, ConsoleDimensions
from rich.text import Text

from ...plain_text import visible

UNLIMITED = 10_000  # columns of an output that is not a terminal
DEFAULT_COLUMNS, ROWS = 80, 25  # of a terminal that does not say


class PlainConsole(Console):
    """A rich console on standard output that never takes a name for markup or emoji.

    Control characters are printed as escapes. Styles are given by ``rich.text.Text`` or the argument ``style``.

    Parameters
    ----------
    columns : callable() -> int, optional
        Returns the columns of the terminal on which the output of this process ends, 0 if it ends elsewhere. By
        default standard output decides.
    quiet : bool
        Print nothing.
    """

    def __init__(self, columns: Callable[[], int] | None = None, *, quiet: bool = False):
        is_terminal = sys.stdout.isatty() if columns is None else columns() > 0
        options: dict[str, Any] = {} if is_terminal else {"width": UNLIMITED}
        super().__init__(markup=False, emoji=False, highlight=False, quiet=quiet, force_terminal=is_terminal, **options)
        self._columns_now = columns

    @property  # type: ignore[misc]  # never set
    def size(self) -> ConsoleDimensions:
        """Columns and rows; read each time on a terminal, since its window can be resized."""
        if not self.is_terminal:
            return ConsoleDimensions(UNLIMITED, ROWS)
        if self._columns_now is None:
            return super().size
        return ConsoleDimensions(self._columns_now() or DEFAULT_COLUMNS, ROWS)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return ``text`` to be printed, with control characters escaped."""
        return super().render_str(visible(text, keep="\n"), **options)

    def say(self, text: str, style: str = "") -> None:
        """Print one line. A terminal wraps it between words; elsewhere it stays one line."""
        line = Text(visible(text), style)
        if not self.is_terminal:
            self.print(line, soft_wrap=True)
            return
        for part in line.wrap(self, self.width):
            part.rstrip()
            self.print(part)
