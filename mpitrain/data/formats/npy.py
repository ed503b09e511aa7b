"""Directories of NumPy arrays, one in each file ``*.npy``: mapped, so that they may be larger than memory."""

from pathlib import Path

import numpy as np

from ...errors import UserError
from ..files import reading
from .npz import read_header, read_objects

_WANTED = "an array of NumPy"


def npy_names(folder: Path) -> set[str]:
    """Return the names of the arrays in a directory."""
    return {path.stem for path in folder.glob("*.npy") if path.is_file()}


def read_npy(path: Path) -> np.ndarray:
    """Return the array in a file, mapped; labels that are Python objects are read.

    Raises
    ------
    UserError
        If the file is damaged, cut off, or holds objects that are not plain values.
    """
    with reading(path, _WANTED), path.open("rb") as file:
        header = read_header(file)
        if header is None:
            raise ValueError("a version of the format that is not known")
        shape, fortran, dtype = header
        if dtype.hasobject:
            return read_objects(file, str(path))
        start, size = file.tell(), int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        there = path.stat().st_size - start
        if there < size:
            raise UserError(
                f"{path} is cut off: its header promises {shape} {dtype}, which are {size:,} bytes, and there are "
                f"{there:,}"
            )
        if not size:
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
