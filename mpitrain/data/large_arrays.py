"""Large arrays in files: checked, converted or decompressed once, in files of the cache that all processes map.

Shapes: N rows.
"""

import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from .cache import Cache, facts_of

CACHE = Cache("arrays", "converted arrays")
LARGE = 128 << 20
"""Bytes of an array from which on it is kept in a file."""
PART = 32 << 20
"""Bytes of the rows that are in memory at once, about."""
_VERSION = 1  # of the folders
_VALUES = "values.npy"


def parts_of(shape: tuple[int, ...], itemsize: int, multiple: int = 1) -> list[tuple[int, int]]:
    """Return ranges of rows that cover an array, of about ``PART`` bytes each and a multiple of some rows."""
    row = itemsize * max(1, math.prod(shape[1:]))
    step = max(1, PART // row // multiple) * multiple
    return [(start, min(start + step, shape[0])) for start in range(0, shape[0], step)]


def stored_copy(
    facts: Iterable[object],
    shape: tuple[int, ...],
    dtype: Any,
    read: Callable[[int, int], np.ndarray],
    multiple: int = 1,
) -> np.ndarray:
    """Return an array (N, ...), mapped from the cache, whose rows ``read(start, stop)`` has given.

    Parameters
    ----------
    facts : iterable
        What decides the contents.
    multiple : int
        Rows of a part are a multiple of this, as in the chunks of a file.

    Raises
    ------
    UserError
        If the cache cannot be written; whatever ``read`` raises, and nothing is left.
    """
    dtype = np.dtype(dtype)

    def write(folder: Path) -> None:
        header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        with open(folder / _VALUES, "wb") as file:  # not by a map, which ends the process where the disk is full
            npy.write_array_header_2_0(file, header)
            for start, stop in parts_of(shape, dtype.itemsize, multiple):
                file.write(np.ascontiguousarray(read(start, stop), dtype).data)
            file.flush()
            os.fsync(file.fileno())

    folder = CACHE.path_for([_VERSION, *facts, shape, dtype.str], "")
    CACHE.make(folder, write)
    found: np.ndarray = np.load(folder / _VALUES, mmap_mode="r")
    return found


def done_once(facts: Iterable[object], work: Callable[[], object]) -> None:
    """Do work that has no result but an error, once for all processes and runs."""
    CACHE.make(CACHE.path_for([_VERSION, *facts], ""), lambda _: work())


def facts_of_mapped(values: np.ndarray) -> list[object] | None:
    """Return what tells the contents of an array that is mapped from a file; None where the file is not known."""
    root: Any = values
    while isinstance(root, np.ndarray) and not (isinstance(root, np.memmap) and not isinstance(root.base, np.ndarray)):
        root = root.base
    if root is None or root.filename is None:
        return None
    place = values.__array_interface__["data"][0] - root.__array_interface__["data"][0] + root.offset
    return [*facts_of(Path(root.filename)), place, values.shape, values.strides, values.dtype.str]
