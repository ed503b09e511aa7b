"""Text files, and their division into pieces that are checked and encoded independently of each other.

A file is a document. A long one is cut at the ends of lines, at places that depend on the file alone: any number of
processes encode it alike.
"""

import glob
import itertools
import mmap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError

UNIT = 32 << 20  # bytes that are encoded in one go, about
SEARCH = 1 << 16  # bytes in which the end of a line is sought; without one, the next character begins a piece


@dataclass(frozen=True)
class Piece:
    """A part of a text file.

    Attributes
    ----------
    path : Path
    start, stop : int
        Its bytes.
    ends : bool
        Whether the file ends with it.
    """

    path: Path
    start: int
    stop: int
    ends: bool

    def read(self) -> bytes:
        """Return the bytes.

        Raises
        ------
        UserError
            If they cannot be read, are fewer than there were, or are no UTF-8.
        """
        try:
            with open(self.path, "rb") as file:
                file.seek(self.start)
                data = file.read(self.stop - self.start)
        except OSError as error:
            raise UserError(f"{self.path} cannot be read ({error.strerror})") from None
        if len(data) < self.stop - self.start:
            raise UserError(f"{self.path} was cut off while it was read")
        try:
            data.decode()
        except UnicodeDecodeError as error:
            place, byte = self.start + error.start, data[error.start]
            raise UserError(
                f"{self.path} is not UTF-8: byte {place:,} is 0x{byte:02x} ({error.reason}); convert it, as in "
                "iconv -f latin1 -t utf-8"
            ) from None
        return data


def find_files(place: str, source: str) -> list[Path]:
    """Return the files of a file, a directory or a pattern, in the order of their names; hidden ones are left out.

    Raises
    ------
    UserError
        If there is none.
    """
    path = Path(place).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        inside = (found for found in path.rglob("*") if not any(p.startswith(".") for p in _below(found, path)))
        files = sorted(found for found in inside if found.is_file())
        if not files:
            raise UserError(f"{source}: the directory {path} holds no files")
        return files
    files = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
    if not files:
        kind = "no file matches" if glob.has_magic(place) else "there is no file or directory"
        raise UserError(f"{source}: {kind} {path}")
    return files


def pieces_of(files: Iterable[Path], unit: int = UNIT, *, whole_lines: bool = False) -> Iterator[Piece]:
    """Yield the pieces of all files, in order; empty files have none.

    Parameters
    ----------
    whole_lines : bool
        Cut at the ends of lines only, however long they are.
    """
    cut = _end_of_line if whole_lines else _cut
    for path in files:
        try:
            size = path.stat().st_size
            starts = [0, *_cuts(path, size, unit, cut), size] if size > unit else [0, size]
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror})") from None
        for start, stop in itertools.pairwise(starts):
            if start < stop:
                yield Piece(path, start, stop, stop == size)


def units_of(pieces: Iterable[Piece], unit: int = UNIT) -> Iterator[tuple[Piece, ...]]:
    """Yield consecutive pieces together, up to about ``unit`` bytes."""
    found: list[Piece] = []
    size = 0
    for piece in pieces:
        if found and size + piece.stop - piece.start > unit:
            yield tuple(found)
            found, size = [], 0
        found.append(piece)
        size += piece.stop - piece.start
    if found:
        yield tuple(found)


def lines_of(data: bytes, size: int = SEARCH) -> list[bytes]:
    """Return ``data`` in parts of about ``size`` bytes, cut at the ends of lines: they are encoded side by side."""
    parts, start = [], 0
    while start < len(data):
        stop = _cut(data, start + size) if start + size < len(data) else len(data)
        parts.append(data[start:stop])
        start = stop
    return parts


def _cuts(path: Path, size: int, unit: int, cut: Callable[[mmap.mmap, int], int]) -> list[int]:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        cuts = [cut(data, place) for place in range(unit, size, unit)]
    return sorted(set(cuts))


def _cut(data: bytes | mmap.mmap, place: int) -> int:
    """Return the place after the next end of a line that text follows, or else of the next character."""
    window = data[place : place + SEARCH]
    for found in range(len(window) - 1):
        if window[found] == 0x0A and not window[found + 1 : found + 2].isspace():
            return place + found + 1
    return place + next((k for k in range(min(4, len(window))) if window[k] & 0xC0 != 0x80), 0)


def _end_of_line(data: mmap.mmap, place: int) -> int:
    return data.find(b"\n", place) + 1 or len(data)


def _below(path: Path, folder: Path) -> tuple[str, ...]:
    return path.relative_to(folder).parts
