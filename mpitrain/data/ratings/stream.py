"""Files of ratings without a header, or with ``::`` between cells, as tables that have both.

MovieLens writes ``1::1193::5::978300760``; others write no names of columns either.
"""

import csv
from collections.abc import Callable
from pathlib import Path

from ...errors import UserError
from ..files import reading
from ..tables.cells import CellFormat
from ..tables.stream import TextStream

NAMES = ("user", "item", "rating", "time")
"""The columns of a file without a header, in this order."""
_LINE = 1 << 16  # bytes that hold the first line


class MendedStream(TextStream):
    """A text file with a header before its first line, and tabs for ``::``.

    Parameters
    ----------
    path : Path
    encoding : str
        As in ``TextStream``.
    header : bytes
        Put before the text.
    colons : bool
        Whether ``::`` separates cells.
    """

    def __init__(self, path: Path, encoding: str = "", *, header: bytes = b"", colons: bool = False):
        super().__init__(path, encoding)
        self._colons, self._ahead, self._left = colons, header, b""
        self.size = 0  # of the file, which says nothing of the text that it becomes
        self.first_line = 0 if header else 1

    def readinto(self, view: memoryview) -> int:
        """Fill the beginning of ``view``; return the number of bytes, 0 only at the end."""
        while not self._ahead:
            buffer = bytearray(len(view))
            count = super().readinto(memoryview(buffer))
            data = self._left + bytes(buffer[:count])
            self._left = b":" if count and self._colons and data.endswith(b":") and not data.endswith(b"::") else b""
            data = data[: len(data) - len(self._left)]
            self._ahead = data.replace(b"::", b"\t") if self._colons else data
            if not count:
                break
        data, self._ahead = self._ahead[: len(view)], self._ahead[len(view) :]
        view[: len(data)] = data
        return len(data)


def opener_of(path: Path, encoding: str, separator: str) -> tuple[Callable[[Path, str], TextStream], bool]:
    """Return the function (path, encoding) that opens a file of ratings as a table, and whether it has no header.

    A first line with a number among its cells is no header.

    Raises
    ------
    UserError
        If a file without a header has less than two columns, or more than ``NAMES``.
    """
    line = _first_line(path, encoding)
    colons = "::" in line and not separator
    mark = "\t" if colons else separator or max(",;\t|", key=line.count)
    text = line.replace("::", "\t") if colons else line
    cells = next(csv.reader([text], delimiter=mark), [])
    if not any(CellFormat().number(cell) is not None for cell in cells):
        return (lambda path, encoding: MendedStream(path, encoding, colons=True)) if colons else TextStream, False
    if not 2 <= len(cells) <= len(NAMES):
        raise UserError(
            f"{path} has no header, and {len(cells)} column{'s' * (len(cells) != 1)}: expected user, item, rating and "
            "time in this order, or a first line with the names of the columns"
        )
    header = mark.join(NAMES[: len(cells)]).encode() + b"\n"
    return lambda path, encoding: MendedStream(path, encoding, header=header, colons=colons), True


def _first_line(path: Path, encoding: str) -> str:
    buffer = bytearray(_LINE)
    with reading(path, "a file of ratings"), TextStream(path, encoding) as stream:
        filled = 0
        while filled < _LINE and b"\n" not in buffer[:filled].lstrip():
            count = stream.readinto(memoryview(buffer)[filled:])
            if not count:
                break
            filled += count
    return next(iter(buffer[:filled].decode("utf-8", "replace").strip().splitlines()), "")
