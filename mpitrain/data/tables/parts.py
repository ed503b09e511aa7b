"""Parts of a table that are read apart from each other: whole rows of a text file, by its bytes.

A line end inside of quotes ends no row. Whether a byte is inside is known by the number of quotes before it, if all
quotes of the file stand where they should; otherwise the file is not divided.
"""

import codecs
import dataclasses
import io
import itertools
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import UserError
from ..files import reading
from .blocks import Blocks, well_quoted
from .dialect import read_header
from .options import CsvOptions
from .stream import FilePart, TextStream

LEAST, MOST = 1 << 16, 1 << 22  # bytes of a part
PARTS = 256  # of a file between these
WINDOW = 1 << 16  # bytes searched at once for the end of a row


class Task(NamedTuple):
    """Work that is the same function of each item, and may be divided."""

    items: Sequence[int]
    function: Callable[[int], Any]


Division = Generator[Task, list[Any], list[CsvOptions]]
"""Yields tasks, is sent their results in order, and returns the options of each part."""


def divide_file(path: Path, options: CsvOptions) -> Division:
    """Return options for each part of a table, in order; ``options`` alone if it cannot be divided.

    The parts depend on the file only. Its tasks look at the whole file once, and again if it holds quotes. Compressed
    files, those in UTF-16 or UTF-32, and those with stray quotes are not divided.

    Raises
    ------
    UserError
        If the file cannot be read or has no header.
    """
    with reading(path, "a table in text"), TextStream(path, options.encoding) as stream:
        size, encoding = stream.size, stream.encoding
        header = read_header(path, Blocks(stream).first, options.sep)
    begin = _end_of_lines(path, header.num_lines) if size and _one_byte_signs(encoding) else None
    if begin is None:
        return [options]
    step = min(MOST, max(LEAST, size // PARTS))
    wanted = range(begin + step, size, step)

    def count(start: int) -> int:
        return _read(path, start, min(start + step, size)).count(b'"')

    quotes = yield Task([begin, *wanted], count)
    inside = (np.cumsum(quotes) % 2).astype(bool).tolist()
    ends = yield Task(range(len(wanted)), lambda k: _end_of_row(path, wanted[k], inside=inside[k]))
    bounds = sorted({begin, *(end for end in ends if end < size), size})
    parts = list(itertools.pairwise(bounds))
    if any(quotes):
        mark = header.separator.encode(encoding)
        fine = yield Task(range(len(parts)), lambda k: well_quoted(_read(path, *parts[k]), mark))
        if not all(fine):
            return [options]
    return [
        dataclasses.replace(options, sep=header.separator, part=FilePart(begin, start, stop)) for start, stop in parts
    ]


def alone(division: Division) -> list[CsvOptions]:
    """Do all tasks of a division, and return what it returns."""
    results: list[Any] | None = None
    while True:
        try:
            task = next(division) if results is None else division.send(results)
        except StopIteration as end:
            found: list[CsvOptions] = end.value
            return found
        results = [task.function(item) for item in task.items]


def at_its_line(path: Path, options: CsvOptions) -> CsvOptions:
    """Return the options of a part with the number of its first line, for messages: it takes reading what is before."""
    if options.part is None:
        return options
    before = sum(
        _read(path, at, min(at + MOST, options.part.start)).count(b"\n") for at in range(0, options.part.start, MOST)
    )
    return dataclasses.replace(options, part=options.part._replace(first_line=before + 1))


def _one_byte_signs(encoding: str) -> bool:
    """Return whether a line end or a quote is one byte, which is part of no other sign."""
    if encoding in ("utf-8", "utf-8-sig"):
        return True
    name = codecs.lookup(encoding).name
    return name.startswith(("iso8859", "cp125", "koi8", "ascii", "mac-"))


def _end_of_lines(path: Path, count: int) -> int | None:
    """Return the byte behind the first lines; None if they end otherwise than by line feeds."""
    with path.open("rb") as file:
        lines = [file.readline(1 << 26) for _ in range(count)]
        return file.tell() if all(line.endswith(b"\n") and b"\r" not in line[:-2] for line in lines) else None


def _end_of_row(path: Path, start: int, *, inside: bool) -> int:
    """Return the byte behind the first row that ends at ``start`` or later; ``inside`` of quotes or not."""
    with path.open("rb") as file:
        file.seek(start)
        while data := file.read(WINDOW):
            signs = np.frombuffer(data, np.uint8)
            quoted = (np.cumsum(signs == ord('"')) + inside) % 2 == 1
            ends = np.flatnonzero((signs == ord("\n")) & ~quoted)
            if ends.size:
                return start + int(ends[0]) + 1
            start, inside = start + len(data), bool(quoted[-1])
        return start


def _read(path: Path, start: int, stop: int) -> bytes:
    with path.open("rb", buffering=io.DEFAULT_BUFFER_SIZE) as file:
        file.seek(start)
        data = file.read(stop - start)
    if len(data) < stop - start:
        raise UserError(f"{path} has changed while it was read")
    return data
