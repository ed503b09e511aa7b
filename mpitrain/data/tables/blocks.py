"""Division of a text file into blocks of whole rows.

A line end inside of quotes ends no row. Quotes that stand where they should are counted; anything else is left to the
csv module, which defines what a row is.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...errors import UserError
from .stream import TextStream

FIRST_BYTES = 1 << 18
"""Size of the first block, which decides how columns are read."""
BLOCK_BYTES = 1 << 21
MORE_BYTES = 1 << 16
_LONGEST_ROW = 1 << 26  # bytes; more is a quote that was left open

Rows = tuple[list[list[str]], list[int] | range]
"""The cells of rows, and the line on which each row ends."""


@dataclass(frozen=True)
class Block:
    """Whole rows of a file.

    Attributes
    ----------
    buffer : bytearray
        UTF-8 text, which ``Blocks.release`` takes back to be filled again.
    size : int
        Bytes of it in use.
    first_line : int
        Number of the first line, from 1.
    num_lines : int
    quoted : bool
        Whether there are quotes.
    parsed : Rows or None
        The rows, where finding the end of the block took parsing.
    """

    buffer: bytearray
    size: int
    first_line: int
    num_lines: int
    quoted: bool = False
    parsed: Rows | None = None

    def rows(self, separator: str) -> Rows:
        """Return all rows that are not blank."""
        if self.parsed is not None:
            return self.parsed
        text = io.StringIO(_decode(self.buffer, self.size), newline="")
        reader = csv.reader(text, delimiter=separator)
        if not self.quoted:
            rows = list(reader)
            if all(rows):
                return rows, range(self.first_line, self.first_line + len(rows))
            return [row for row in rows if row], [self.first_line + k for k, row in enumerate(rows) if row]
        rows, lines = [], []
        for row in reader:
            if row:
                rows.append(row)
                lines.append(self.first_line + reader.line_num - 1)
        return rows, lines


class Blocks:
    """The blocks of a stream, in order.

    Parameters
    ----------
    stream : TextStream

    Attributes
    ----------
    first : str
        The lines at the beginning, with the header.

    Raises
    ------
    UserError
        If the text holds NUL or bytes that are not in its encoding, or a quote is not closed. ``after``, too.
    """

    def __init__(self, stream: TextStream):
        csv.field_size_limit(_LONGEST_ROW)  # the default, 128 KiB, says nothing of where a quote was left open
        self._stream, self._rest, self._line, self._at_end = stream, b"", stream.first_line, False
        self._end = b"\n"
        self._free: list[bytearray] = []
        self._scratch = np.empty(0, bool)
        buffer, size = self._take_lines(FIRST_BYTES, find_end=True)
        self._check_text(buffer, size)
        self.first = _decode(buffer, size)

    def after(self, num_lines: int, separator: str) -> Iterator[Block]:
        """Yield all blocks behind the first ``num_lines``, the header."""
        text = io.StringIO(self.first, newline="")
        for _ in range(num_lines):
            text.readline()
        self._line += num_lines
        if self._stream.part is not None:
            self._line = self._stream.part.first_line
        buffer = bytearray(text.read().encode())
        size = len(buffer)
        while size or not self._at_end or self._rest:
            if size:
                yield self._block(buffer, size, separator)
            buffer, size = self._take_lines(BLOCK_BYTES)

    def release(self, block: Block) -> None:
        """Return the memory of a block for reuse: new memory for each would cost as much as parsing."""
        self._free.append(block.buffer)

    def _block(self, buffer: bytearray, size: int, separator: str) -> Block:
        self._check_text(buffer, size)
        num_lines = self._count_lines(buffer, size)
        quoted = buffer.find(b'"', 0, size) >= 0
        if quoted and not well_quoted(bytes(memoryview(buffer)[:size]), separator.encode()):
            rows, num_lines = self._parse(buffer, size, separator)
            block = Block(buffer, size, self._line, num_lines, True, rows)
        else:
            block = Block(buffer, size, self._line, num_lines, quoted)
        self._line += num_lines
        return block

    def _parse(self, buffer: bytearray, size: int, separator: str) -> tuple[Rows, int]:
        """Parse a block and the rest of its last row; return the rows and the number of lines."""
        given = done = 0
        rows: list[list[str]] = []
        lines: list[int] = []

        def supply() -> Iterator[str]:
            nonlocal buffer, size, given
            row_bytes, row_start = 0, 0
            while size and row_bytes < _LONGEST_ROW:
                for line in io.StringIO(_decode(buffer, size), newline=""):
                    given += 1
                    yield line
                if given == done:
                    return
                row_bytes = row_bytes + size if done == row_start else 0
                row_start = done
                buffer, size = self._take_lines(MORE_BYTES)
                self._check_text(buffer, size, given)
            raise UserError(
                f"{self._stream.path}: a quote that is opened on line {self._line + done} or later is never closed"
            )

        reader = csv.reader(supply(), delimiter=separator)
        for row in reader:
            done = reader.line_num
            if row:
                rows.append(row)
                lines.append(self._line + done - 1)
        return (rows, lines), done

    def _take_lines(self, size: int, find_end: bool = False) -> tuple[bytearray, int]:
        """Return a buffer and the number of its bytes in whole lines: about ``size``, 0 only at the end."""
        filled = len(self._rest)
        size = max(size, 2 * filled)
        buffer = self._buffer(size)
        buffer[:filled] = self._rest
        while True:
            filled = self._fill(buffer, filled, size)
            if find_end and buffer.count(b"\r", 0, filled) > 2 * buffer.count(b"\n", 0, filled):
                self._end = b"\r"  # of old Macs; a line feed may stand inside of quotes
            cut = filled if self._at_end else self._last_end(buffer, filled)
            if cut or self._at_end:
                break
            size *= 2  # a long line; a buffer that was used before may be longer, but that must not change the blocks
            buffer += bytes(max(0, size - len(buffer)))
        self._rest = bytes(memoryview(buffer)[cut:filled])
        return buffer, cut

    def _buffer(self, size: int) -> bytearray:
        buffer = self._free.pop() if self._free else bytearray()
        return buffer if len(buffer) >= size else bytearray(size)

    def _fill(self, buffer: bytearray, filled: int, size: int) -> int:
        """Read until the buffer holds ``size`` bytes or the file ends; return the number of bytes."""
        with memoryview(buffer) as view:
            while filled < size and not self._at_end:
                count = self._stream.readinto(view[filled:size])
                self._at_end = not count
                filled += count
        return filled

    def _last_end(self, buffer: bytearray, filled: int) -> int:
        """Return the end of the last whole line, 0 if there is none."""
        if self._end == b"\n":
            return buffer.rfind(b"\n", 0, filled) + 1
        cut = buffer.rfind(b"\r", 0, filled - 1) + 1  # the next byte may be a line feed
        return cut + 1 if cut and buffer[cut : cut + 1] == b"\n" else cut

    def _count_lines(self, buffer: bytearray, size: int) -> int:
        if len(self._scratch) < size:
            self._scratch = np.empty(len(buffer), bool)
        ends = np.equal(np.frombuffer(buffer, np.uint8, size), 10, out=self._scratch[:size])
        count = int(np.count_nonzero(ends))  # three times as fast as bytes.count
        if buffer.find(b"\r", 0, size) >= 0:
            count += buffer.count(b"\r", 0, size) - buffer.count(b"\r\n", 0, size)
        return count + (buffer[size - 1] not in b"\r\n")

    def _check_text(self, buffer: bytearray, size: int, lines: int = 0) -> None:
        """Raise UserError if a buffer is not text; it begins ``lines`` lines after the current one."""
        line = self._line + lines
        place = buffer.find(b"\0", 0, size)
        if place >= 0:
            raise UserError(
                f"{self._stream.path}: line {line + buffer.count(self._end, 0, place)} holds a NUL byte: this is no "
                "text, or text in UTF-16 (encoding=utf-16-le)"
            )
        if size and np.frombuffer(buffer, np.uint8, size).max() >= 128:
            try:
                _decode(buffer, size)
            except UnicodeDecodeError as error:
                line += buffer.count(self._end, 0, error.start)
                raise self._stream.not_in_encoding(line, buffer[error.start]) from None


def _decode(buffer: bytearray, size: int) -> str:
    with memoryview(buffer) as view:
        return str(view[:size], "utf-8")


def well_quoted(data: bytes, separator: bytes) -> bool:
    """Return whether all quotes in whole lines are closed, and are at an end of a cell or doubled inside.

    Then a row ends at the end of ``data``. Cells such as ``5" pipe`` or ``"a" b`` are not written well.
    """
    text = np.frombuffer(b"\n" + data + b"\n", np.uint8)
    places = np.flatnonzero(text == ord('"'))
    if len(places) % 2:
        return False
    opening, closing = places[::2], places[1::2]
    ends = [*separator, *b"\r\n"]
    doubled = opening[1:] == closing[:-1] + 1
    before = np.isin(text[opening - 1], ends)
    after = np.isin(text[closing + 1], ends)
    before[1:] |= doubled
    after[:-1] |= doubled
    return bool(before.all() and after.all())
