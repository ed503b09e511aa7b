"""Text files as token streams: mapped as they are, or encoded once into files of the cache.

What takes long is divided into units of work, each of which leaves a file in the cache: ranks share them (``prepare``),
and a process that finds all files does nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..tokenizer import Tokenizer
from . import cache
from .pieces import Piece, lines_of, pieces_of, units_of
from .stream import TokenStream
from .tokenizer import BYTES, dtype_for

MOST_MAPPED = 1024  # files that are mapped one by one: the system limits the number of maps
AT_ONCE = 32  # parts of text that are encoded in one call, which takes ten times their memory
QUICK = 32 << 20  # bytes that each process checks anew


@dataclass(frozen=True)
class Unit:
    """Work that leaves a file."""

    path: Path
    work: Callable[[], np.ndarray | bytes]

    def run(self) -> None:
        """Do it unless the file is there."""
        if not self.path.exists():
            cache.write(self.path, self.work())


@dataclass(frozen=True)
class Encoding:
    """Text files and the tokenizer that encodes them.

    Attributes
    ----------
    files : list of Path
    tokenizer : Tokenizer
    """

    files: list[Path]
    tokenizer: Tokenizer

    @property
    def is_mapped(self) -> bool:
        """True if the files themselves are the tokens."""
        return self.tokenizer.name == BYTES and len(self.files) <= MOST_MAPPED

    def units(self) -> list[Unit]:
        """Return the work to do before ``stream`` that is worth to be shared."""
        return [] if self._is_quick else self._units()

    @property
    def _is_quick(self) -> bool:
        return self.is_mapped and sum(map(cache.size_of, self.files)) <= QUICK

    def _units(self) -> list[Unit]:
        found = []
        for pieces in units_of(pieces_of(self.files)):
            path = self._path(pieces)
            work = self._checked if self.is_mapped else self._encoded
            found.append(Unit(path, lambda pieces=pieces, work=work: work(pieces)))  # type: ignore[misc]
        return found

    def stream(self) -> TokenStream:
        """Return the tokens of all files, each followed by the end of text if there is one.

        Raises
        ------
        UserError
            If a file cannot be read or is no UTF-8, or if there is no text at all.
        """
        if not any(map(cache.size_of, self.files)):
            raise UserError(f"{self.files[0]} is empty" if len(self.files) == 1 else "all files of the text are empty")
        units = self._units()
        for unit in units:
            if self._is_quick:
                unit.work()
            else:
                unit.run()
        if self.is_mapped:
            return self._mapped()
        return TokenStream([self._map(unit.path, dtype_for(self.tokenizer.vocabulary)) for unit in units])

    def _mapped(self) -> TokenStream:
        end = self.tokenizer.end_of_text
        parts = []
        for path in self.files:
            if path.stat().st_size:
                parts += [self._map(path, np.dtype(np.uint8)), np.array([end], np.uint16)]
        return TokenStream(parts)

    def _map(self, path: Path, dtype: np.dtype[np.unsignedinteger]) -> np.ndarray:
        if not path.stat().st_size:  # of pieces without a token
            return np.empty(0, dtype)
        return np.memmap(path, dtype, "r")

    def _path(self, pieces: Sequence[Piece]) -> Path:
        """Return the file of a unit, which is another one if a file of text has changed."""
        facts = [(*cache.facts_of(piece.path), piece.start, piece.stop, piece.ends) for piece in pieces]
        kind = "checked" if self.is_mapped else "encoded"
        return cache.path_for([kind, self.tokenizer.digest, *facts], ".bin")

    def _checked(self, pieces: Sequence[Piece]) -> bytes:
        for piece in pieces:
            piece.read()
        return b"UTF-8\n"

    def _encoded(self, pieces: Sequence[Piece]) -> np.ndarray:
        end = self.tokenizer.end_of_text
        parts: list[np.ndarray] = []
        for piece in pieces:
            lines = lines_of(piece.read())
            for first in range(0, len(lines), AT_ONCE):
                parts += self.tokenizer.encode(lines[first : first + AT_ONCE])
            if piece.ends and end is not None:
                parts.append(np.array([end]))
        return np.concatenate([np.empty(0, np.int64), *parts]).astype(dtype_for(self.tokenizer.vocabulary))
