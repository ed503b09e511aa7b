"""NumPy archives: arrays x and y, or a pair per split (``npz_names``); from pickles only plain values are read."""

import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from ...errors import UserError
from ...plain_text import visible
from ..files import reading
from .objects import plain_array
from .unpickle import ForbiddenError, unpickle_objects

_WANTED = "an .npz archive of numbers or text"


def read_member(path: Path, name: str) -> np.ndarray:
    """Return one array of the archive; as a memory map if it is stored uncompressed and aligned for its type.

    The ranks of a host then share one copy of it. ``numpy.savez`` aligns nothing, so these are arrays of bytes.
    """
    with reading(path, _WANTED), zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
        with archive.open(info) as member:
            header = read_header(member)
            objects = header is not None and header[2].hasobject
            found = read_objects(member, f"{path}: {name}") if objects else None
            start = member.tell()
        if found is None and header is not None and info.compress_type == zipfile.ZIP_STORED:
            found = _map(path, info, start, *header)
        if found is not None:
            return found
        with np.load(path, allow_pickle=False) as arrays:
            array: np.ndarray = arrays[name]
            return array


def npz_names(path: Path) -> set[str]:
    """Return the names of the arrays in an archive."""
    with reading(path, "an .npz archive"), zipfile.ZipFile(path) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}


def read_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype] | None:
    """Return shape, Fortran order and dtype; None in a version of the format that only NumPy knows."""
    version = npy.read_magic(member)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    return None if read is None else read(member)


def read_objects(member: IO[bytes], where: str) -> np.ndarray:
    """Return an array of Python objects, which follow: text or numbers; raises UserError for others."""
    try:
        values = unpickle_objects(member)
        member.read()  # the checksum is compared at the end
    except ForbiddenError as error:
        raise UserError(
            f"{where} holds Python objects that are not text or numbers ({visible(str(error))}): save an array of "
            "numbers, or labels as np.array(labels, dtype=str)"
        ) from None
    return plain_array(values, where)


def _map(
    path: Path, info: zipfile.ZipInfo, start: int, shape: tuple[int, ...], fortran: bool, dtype: np.dtype
) -> np.ndarray | None:
    """Map an array that is stored uncompressed and begins at ``start`` of its member, if it is aligned."""
    with path.open("rb") as raw:  # the zip's own header before the member: 30 bytes, its name, an extra field
        raw.seek(info.header_offset + 26)
        name_length, extra_length = np.frombuffer(raw.read(4), "<u2").tolist()
    offset = info.header_offset + 30 + name_length + extra_length + start
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if fortran or not size or offset % dtype.alignment or start + size != info.file_size:
        return None
    return np.memmap(path, dtype, "r", offset, shape)
