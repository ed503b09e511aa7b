"""A text file as a stream of UTF-8 bytes: decompressed, recoded, without a byte order mark."""

import bz2
import codecs
import gzip
import io
import lzma
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ...errors import UserError

_BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark has the same start
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_NO_TABLES = {
    b"PK\x03\x04": "an Excel workbook or a zip archive: save it as CSV, or unpack it",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save it as CSV",
    b"PAR1": "a Parquet file: use parquet:FILE",
    b"\x93NUMPY": "an array of NumPy: use npz:FILE",
}


class FilePart(NamedTuple):
    """Whole rows of a table in a file: the bytes from ``start`` to ``stop``; ``header`` is the end of the header.

    Attributes
    ----------
    first_line : int
        Number of the first line; 1 where it is not known.
    """

    header: int
    start: int
    stop: int
    first_line: int = 1


class TextStream:
    """Bytes of a text file in UTF-8.

    Parameters
    ----------
    path : Path
    encoding : str
        Empty for UTF-8, or what a byte order mark says.
    part : FilePart, optional
        Read these rows only, behind the header; not of a compressed file.

    Attributes
    ----------
    encoding : str
    size : int
        Bytes of the file, or of its part; 0 if it is compressed: it then says little about the text.
    first_line : int
        The number of the first line, for messages.

    Raises
    ------
    UserError
        If the file is no regular file, is not text, or is compressed in a way that nothing here can read.
    OSError
        As from opening and reading; see ``files.reading``.
    """

    first_line = 1

    def __init__(self, path: Path, encoding: str = "", part: FilePart | None = None):
        self.path, self.part = path, part
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{path} is no regular file: a table is read more than once")
        with ExitStack() as stack:
            raw = stack.enter_context(path.open("rb", buffering=0))
            magic = raw.read(10)
            raw.seek(0)
            self._raw = _unpacked(raw, magic, path)
            if self._raw is not raw:
                stack.enter_context(self._raw)
            self.size = path.stat().st_size if self._raw is raw else 0
            if part is not None:
                self._raw = _Part(raw, part)
                self.size = part.header + part.stop - part.start
            self._begin = self._read(4)  # not decoded yet
            self._stack = stack.pop_all()
        self._check_kind(magic)
        mark = next((mark for mark in _BOMS if self._begin.startswith(mark)), b"")
        self.encoding = codecs.lookup(encoding or _BOMS.get(mark, "utf-8")).name
        if mark and self._fits(_BOMS[mark]):
            self._begin = self._begin[len(mark) :]
        self._decoder = None if self.encoding == "utf-8" else codecs.getincrementaldecoder(self.encoding)()
        self._waiting = b""  # decoded, but not given away yet
        self._lines = 1

    def __enter__(self) -> "TextStream":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def readinto(self, view: memoryview) -> int:
        """Fill the beginning of ``view``; return the number of bytes, 0 only at the end.

        Bytes declared as UTF-8 are not checked.
        """
        if self.size and self._decoder is None and not self._begin and not self._waiting:
            return self._raw.readinto(view) or 0
        self._waiting = self._waiting or self._next(len(view))
        data, self._waiting = self._waiting[: len(view)], self._waiting[len(view) :]
        view[: len(data)] = data
        return len(data)

    def not_in_encoding(self, line: int, byte: int) -> UserError:
        """Return the error for a byte on a line that is invalid in the encoding."""
        return UserError(
            f"{self.path}: line {line} is not {self.encoding.upper()} text (byte 0x{byte:02x}): say how it is encoded, "
            "as in encoding=cp1252 (Excel in Western Europe), latin-1 or utf-16"
        )

    def _next(self, size: int) -> bytes:
        while True:
            data, self._begin = self._begin + self._read(size), b""
            if self._decoder is None:
                return data
            text = self._decode(data)
            if text or not data:
                return text

    def _read(self, size: int) -> bytes:
        try:
            data: bytes = self._raw.read(size)
        except Exception as error:  # errors of lzma and of zstd are not OSErrors
            if type(error).__name__ not in ("LZMAError", "ZstdError"):
                raise
            raise OSError(str(error)) from None
        return data

    def _decode(self, data: bytes) -> bytes:
        assert self._decoder is not None
        try:
            text = self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            lines = error.object[: error.start].decode(self.encoding, "ignore").count("\n")
            raise self.not_in_encoding(self._lines + lines, error.object[error.start]) from None
        self._lines += text.count("\n")
        return text.encode("utf-8")

    def _fits(self, mark: str) -> bool:
        """Return whether a byte order mark belongs to the encoding: utf-16 itself reads its mark."""
        return self.encoding == mark or (mark == "utf-8" and self.encoding == "utf-8-sig")

    def _check_kind(self, magic: bytes) -> None:
        for mark, kind in _NO_TABLES.items():
            if magic.startswith(mark) or self._begin.startswith(mark):
                self._stack.close()
                raise UserError(f"{self.path} is {kind}")


class _Part(io.RawIOBase):
    """The header of a file and a part of it, as one stream."""

    def __init__(self, raw: BinaryIO, part: FilePart):
        self._raw, self._part, self._at = raw, part, 0

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the beginning of ``buffer``; return the number of bytes."""
        part, view = self._part, memoryview(buffer)
        left = part.header - self._at
        place = self._at
        if left <= 0:
            place = part.start + self._at - part.header
            left = part.stop - place
        self._raw.seek(place)
        count: int = self._raw.readinto(view[: max(0, min(left, len(view)))]) or 0  # type: ignore[attr-defined]
        self._at += count
        return count


def _unpacked(raw: BinaryIO, magic: bytes, path: Path) -> Any:
    """Return a decompressed stream of ``raw`` by its first ten bytes; ``raw`` itself if it is not compressed."""
    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)
    if magic.startswith(b"BZh") and magic[4:].startswith(b"1AY&SY"):
        return bz2.BZ2File(raw)
    if magic.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMAFile(raw)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return _open_zstd(raw, path)
    return raw


def _open_zstd(raw: BinaryIO, path: Path) -> Any:
    """Open a stream compressed with zstd: Python 3.14 has a module for it, before that pyarrow does."""
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]

        return zstd.ZstdFile(raw)
    except ImportError:
        pass
    try:
        import pyarrow

        return pyarrow.CompressedInputStream(raw, "zstd")
    except ImportError:
        raise UserError(
            f"{path} is compressed with zstd, which needs pyarrow: pip install 'mpitrain[tables]'"
        ) from None
