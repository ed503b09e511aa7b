"""Texts with classes in csv and jsonl files, encoded in units that ranks share.

Shapes: n texts of a unit.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import UserError
from ...json_text import to_json
from ...suggest import did_you_mean
from ..tables import CsvOptions
from ..tables.reader import TableReader
from ..tables.words import shortened
from ..tokenizer import Tokenizer
from . import cache
from .options import TableOptions
from .pieces import Piece, pieces_of
from .tokenizer import BYTES, dtype_for

QUICK = 32 << 20  # bytes of text that each process splits into bytes anew
AT_ONCE = 4096  # texts that are encoded together

Row = tuple[str, str, int]  # text, label, line


@dataclass(frozen=True)
class Encoded:
    """Texts as tokens.

    Attributes
    ----------
    tokens : array of unsigned integers
        Of all texts; it may be a memory map.
    sizes : (n,) array of int64
        Tokens of each.
    codes : (n,) array of int64
        Places of their labels in ``labels``.
    labels : list of str
        Distinct ones; [""] where labels are not read.
    """

    tokens: np.ndarray
    sizes: np.ndarray
    codes: np.ndarray
    labels: list[str]


@dataclass(frozen=True)
class TableUnit:
    """A part of a file, which is encoded at once; its result is a directory of the cache."""

    path: Path
    rows: Callable[[], Iterator[Row]]
    tokenizer: Tokenizer

    def run(self) -> None:
        """Do it unless the directory is there."""
        if not self.path.is_dir():
            with cache.new_folder(self.path) as folder, open(folder / "tokens.bin", "wb") as tokens:
                done = self._encode(lambda part: tokens.write(part.data))
                done.sizes.tofile(folder / "sizes.bin")
                done.codes.tofile(folder / "codes.bin")
                (folder / "labels.json").write_text(to_json(done.labels))

    def result(self, *, quick: bool) -> Encoded:
        """Return the texts; ``quick`` encodes them in memory and leaves nothing."""
        if quick:
            parts: list[np.ndarray] = []
            done = self._encode(parts.append)
            return Encoded(np.concatenate([np.empty(0, self._dtype), *parts]), done.sizes, done.codes, done.labels)
        self.run()
        size = cache.size_of(self.path / "tokens.bin")
        tokens = np.memmap(self.path / "tokens.bin", self._dtype, "r") if size else np.empty(0, self._dtype)
        sizes, codes = (np.fromfile(self.path / f"{name}.bin", "<i8") for name in ("sizes", "codes"))
        return Encoded(tokens, sizes, codes, json.loads((self.path / "labels.json").read_text()))

    @property
    def _dtype(self) -> np.dtype[np.unsignedinteger]:
        return dtype_for(self.tokenizer.vocabulary)

    def _encode(self, write: Callable[[np.ndarray], object]) -> Encoded:
        """Encode all rows, some at a time; hand the tokens to ``write``."""
        rows, labels = self.rows(), dict[str, int]()
        sizes, codes = [np.empty(0, "<i8")], [np.empty(0, "<i8")]
        while some := list(itertools.islice(rows, AT_ONCE)):
            parts = self.tokenizer.encode([text.encode() for text, _, _ in some], special=True)
            write(np.ascontiguousarray(np.concatenate(parts).astype(self._dtype)))
            sizes.append(np.array([len(part) for part in parts], "<i8"))
            codes.append(np.array([labels.setdefault(label, len(labels)) for _, label, _ in some], "<i8"))
        return Encoded(np.empty(0, self._dtype), np.concatenate(sizes), np.concatenate(codes), list(labels))


def table_units(kind: str, files: list[Path], options: TableOptions, tokenizer: Tokenizer) -> list[TableUnit]:
    """Return the units of csv or jsonl files, in order: a csv file is one, a long jsonl file several."""
    units = []
    facts = (kind, options.text, options.target, options.sep, options.encoding, tokenizer.digest)
    for path in files:
        for piece in _pieces(kind, path):
            where = cache.path_for([*facts, *cache.facts_of(path), piece.start, piece.stop], "")
            units.append(TableUnit(where, _reader(kind, piece, options), tokenizer))
    return units


def rows_of(kind: str, files: Iterable[Path], options: TableOptions) -> Iterator[str]:
    """Yield the texts of csv or jsonl files."""
    for path in files:
        for piece in _pieces(kind, path):
            for text, _, _ in _reader(kind, piece, options)():
                yield text


def _pieces(kind: str, path: Path) -> Iterable[Piece]:
    if not cache.size_of(path):
        raise UserError(f"{path} is empty")
    return pieces_of([path], whole_lines=True) if kind == "jsonl" else [Piece(path, 0, cache.size_of(path), True)]


def is_quick(files: Iterable[Path], tokenizer: Tokenizer) -> bool:
    """Return whether files are encoded by each process anew, without the cache."""
    return tokenizer.name == BYTES and sum(map(cache.size_of, files)) <= QUICK


def _reader(kind: str, piece: Piece, options: TableOptions) -> Callable[[], Iterator[Row]]:
    read = _csv_rows if kind == "csv" else _jsonl_rows
    return lambda: _checked(piece, read(piece, options), options)


def _checked(piece: Piece, rows: Iterator[Row], options: TableOptions) -> Iterator[Row]:
    for text, label, line in rows:
        empty = options.text if not text.strip() else options.target if options.target and not label.strip() else ""
        if empty:
            where = f"{piece.path}: line {line + _lines_before(piece)}"
            raise UserError(f"{where} has nothing in {empty!r}: fill in or drop such lines")
        yield text, label.strip(), line


def _csv_rows(piece: Piece, options: TableOptions) -> Iterator[Row]:
    reader = TableReader(piece.path, CsvOptions(sep=options.sep, encoding=options.encoding))
    names = [options.text, *([options.target] if options.target else [])]
    for cells, lines in reader.cells(names):
        for row, line in zip(cells, lines):
            yield row[0], row[1] if options.target else "", line


def _jsonl_rows(piece: Piece, options: TableOptions) -> Iterator[Row]:
    for number, line in enumerate(piece.read().split(b"\n"), 1):
        if line.strip():
            try:
                text, label = _of_line(line, options)
            except ValueError as error:
                raise UserError(f"{piece.path}: line {number + _lines_before(piece)} {error}") from None
            yield text, label, number


def _of_line(line: bytes, options: TableOptions) -> tuple[str, str]:
    """Return the text and the label of a line; raises ValueError with the problem."""
    try:
        facts = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("is no JSON") from None
    if not isinstance(facts, dict):
        raise ValueError('is no JSON object, such as {"text": "...", "label": "..."}')
    for key in filter(None, (options.text, options.target)):
        if key not in facts:
            there = ", ".join(map(repr, facts)) or "nothing"
            raise ValueError(f"has no {key!r}{did_you_mean(key, facts)}; it has {there}")
    text, label = facts[options.text], facts[options.target] if options.target else ""
    if not isinstance(text, str):
        raise ValueError(f"holds no text in {options.text!r}, but {shortened(to_json(text))}")
    if not isinstance(label, str | int):
        raise ValueError(f"holds no class in {options.target!r}, a text or a whole number, but {to_json(label)}")
    return text, label if isinstance(label, str) else to_json(label)


def _lines_before(piece: Piece) -> int:
    """Return the number of lines before a piece."""
    count, left = 0, piece.start
    with open(piece.path, "rb") as file:
        while left and (data := file.read(min(left, 1 << 20))):
            count, left = count + data.count(b"\n"), left - len(data)
    return count
