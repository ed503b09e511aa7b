"""NumPy archives: x and y, or x_train, y_train, x_test and y_test. Pickled objects are not read."""

import zipfile
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from ..errors import UserError
from .build import Arrays
from .files import reading

_NAMES = "expected arrays named x and y, or x_train, y_train, x_test and y_test"


def read_npz(path: Path) -> tuple[Arrays, Arrays | None]:
    """Return the training and the test arrays; None where the archive has only x and y.

    Raises
    ------
    UserError
        If the archive is damaged, holds other names or objects.
    """
    found = _members(path)
    if {"x_train", "y_train", "x_test", "y_test"} <= found:
        train = read_member(path, "x_train"), read_member(path, "y_train")
        return train, (read_member(path, "x_test"), read_member(path, "y_test"))
    if {"x", "y"} <= found:
        return (read_member(path, "x"), read_member(path, "y")), None
    raise UserError(f"{path} holds {', '.join(sorted(found)) or 'nothing'}, {_NAMES}")


def read_npz_samples(path: Path) -> np.ndarray:
    """Return the array x, or x_test where there is no x.

    Raises
    ------
    UserError
        If there is neither.
    """
    found = _members(path)
    for name in ("x", "x_test"):
        if name in found:
            return read_member(path, name)
    raise UserError(f"{path} holds {', '.join(sorted(found)) or 'nothing'}, expected an array named x")


def read_member(path: Path, name: str) -> np.ndarray:
    """Return one array of the archive; as a memory map if it is stored uncompressed and aligned for its type.

    The ranks of a host then share one copy of it. ``numpy.savez`` aligns nothing, so these are arrays of bytes.
    """
    with reading(path, "an .npz archive of numbers or text"):
        with zipfile.ZipFile(path) as archive:
            mapped = _map(path, archive, archive.getinfo(f"{name}.npy"))
        if mapped is not None:
            return mapped
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[name]


def _members(path: Path) -> set[str]:
    with reading(path, "an .npz archive"), zipfile.ZipFile(path) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}


def _map(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray | None:
    if info.compress_type != zipfile.ZIP_STORED:
        return None
    with archive.open(info) as member:
        version = npy.read_magic(member)
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read_header is None:
            return None
        shape, fortran, dtype = read_header(member)
        header = member.tell()
    with path.open("rb") as raw:  # the zip's own header before the member: 30 bytes, its name, an extra field
        raw.seek(info.header_offset + 26)
        name_length, extra_length = np.frombuffer(raw.read(4), "<u2").tolist()
    offset = info.header_offset + 30 + name_length + extra_length + header
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if dtype.hasobject or fortran or not size or offset % dtype.alignment or header + size != info.file_size:
        return None
    return np.memmap(path, dtype, "r", offset, shape)
