"""Text tables that fit the terminal, and are complete if the output is not a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from ...plain_text import visible
from .console import PlainConsole

SHORTEST_NAME = 12  # cells to which a name may be shortened
INDENT = "    "  # of a text that stands below its row
ELLIPSIS = "…"

Row = Sequence[str]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    head : str
    kind : str
        "number" is right-aligned and never cut; "word" is left-aligned and never cut; "name" may lose its start on a
        terminal that is too narrow; "text" may be wrapped there, and is the last column.
    style : str
        Style of the cells, as rich names it.
    """

    head: str
    kind: Literal["number", "word", "name", "text"] = "number"
    style: str = ""


def print_table(
    console: PlainConsole, columns: Sequence[Column], rows: Sequence[Row | None], *, title: str = "", head: bool = True
) -> None:
    """Print a table, each row on one line without trailing blanks; only a text on a terminal may take more.

    On a terminal that is too narrow, texts are wrapped, below their row where they would get less than half the
    width. Then heads are broken between words, gaps shrink, and names are shortened. What still does not fit is left
    to the terminal: no column and no number is ever cut.

    Parameters
    ----------
    console : PlainConsole
    columns : sequence of Column
    rows : sequence of (sequence of str) or None
        A cell for each column; None is an empty line.
    title : str
        A line above the table.
    head : bool
        Print the columns' heads.
    """
    if title:
        console.say(title, "bold")
    cells = [None if row is None else [visible(cell) for cell in row] for row in rows]
    heads = [column.head for column in columns] if head else ["" for _ in columns]
    layout = _Layout(console, columns, heads, list(filter(None, cells)))
    if head:
        layout.print_heads()
    for row in cells:
        layout.print_row(row or [""] * len(columns))


def shorten(name: str, width: int) -> str:
    """Return ``name`` without its start, to fit ``width`` cells: the end of a path is more informative.

    >>> shorten("homework/exercise5_own.py:own", 18)
    '…rcise5_own.py:own'
    """
    if cell_len(name) <= width:
        return name
    kept = name
    while kept and cell_len(kept) > width - 1:
        kept = kept[1:]
    return ELLIPSIS + kept


class _Layout:
    """Layout of the cells of a table on a console."""

    def __init__(self, console: PlainConsole, columns: Sequence[Column], heads: Sequence[str], rows: Sequence[Row]):
        self._console, self._columns, self._heads = console, columns, [[head] for head in heads]
        self._widths = [max(map(cell_len, cells)) for cells in zip(heads, *rows, strict=True)]
        self._gap, self._below = 2, False
        if console.is_terminal and self._excess() > 0:
            self._squeeze([max(map(cell_len, cells), default=0) for cells in zip(*rows, strict=True)])

    def _squeeze(self, cells: list[int]) -> None:
        """Fit the width of the terminal, given the widths of the cells without heads."""
        text = self._columns[-1].kind == "text"
        room = self._widths[-1] - self._excess()
        if text and room >= self._console.width // 2:
            self._widths[-1] = room
            return
        self._below = text
        if text:
            self._widths[-1] = self._console.width - len(INDENT)
        if self._excess() > 0:
            self._stack_heads(cells)
        if self._excess() > 0:
            self._gap = 1
        for place, column in enumerate(self._columns):
            if column.kind == "name" and self._excess() > 0:
                least = min(self._widths[place], max(SHORTEST_NAME, len(column.head)))
                self._widths[place] = max(least, self._widths[place] - self._excess())

    def _excess(self) -> int:
        widths = self._widths[:-1] if self._below else self._widths
        return sum(widths) + self._gap * (len(widths) - 1) - self._console.width

    def _stack_heads(self, cells: list[int]) -> None:
        """Break heads that are longer than their cells over two lines."""
        for place, (column, width) in enumerate(zip(self._columns, cells, strict=True)):
            if column.kind != "text" and cell_len(self._heads[place][0]) > width:
                self._heads[place] = _halve(self._heads[place][0])
                self._widths[place] = max(width, *map(cell_len, self._heads[place]))

    def print_heads(self) -> None:
        """Print the heads, on as many lines as they take."""
        lines = max(map(len, self._heads))
        stacks = [[""] * (lines - len(stack)) + stack for stack in self._heads]
        for row in zip(*stacks, strict=True):
            self.print_row(row, "bold")

    def print_row(self, row: Row, style: str = "") -> None:
        """Print one row."""
        line = Text(style=style)
        for place, (column, cell, width) in enumerate(zip(self._columns, row, self._widths, strict=True)):
            if place:
                line.append(" " * self._gap)
            if column.kind == "number":
                line.append(" " * (width - cell_len(cell)) + cell, column.style)
            elif column.kind == "text":
                self._print_text(line, Text(cell, column.style))
                return
            else:
                line.append(set_cell_size(shorten(cell, width), width), column.style)
        self._print(line)

    def _print_text(self, line: Text, text: Text) -> None:
        """Print ``text`` after ``line``, or below it; where it is wrapped, further lines below its first."""
        indent = INDENT if self._below else " " * line.cell_len
        if self._below:
            self._print(line)
            line = Text(indent)
            if not text:
                return
        parts = text.wrap(self._console, self._widths[-1]) if text.cell_len > self._widths[-1] else [text]
        for part in parts:
            self._print(line + part)
            line = Text(indent)

    def _print(self, line: Text) -> None:
        line.rstrip()
        self._console.print(line, soft_wrap=True)


def _halve(head: str) -> list[str]:
    """Return ``head`` in two lines as short as can be, one if it is one word."""
    words = head.split()
    halves = [(" ".join(words[:place]), " ".join(words[place:])) for place in range(1, len(words))]
    return list(min(halves, key=lambda pair: max(map(len, pair)))) if halves else [head]
