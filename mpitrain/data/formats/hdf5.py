"""Arrays in HDF5 files: mapped where they lie in one piece, and copied once to the cache where they are large."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ...errors import UserError
from ...suggest import did_you_mean
from ..cache import facts_of
from ..files import one_line, reading
from ..large_arrays import LARGE, stored_copy

_WANTED = "an HDF5 file"
T = TypeVar("T")


def hdf5_names(path: Path) -> set[str]:
    """Return the names of the datasets, as in ``group/x``.

    Raises
    ------
    UserError
        If h5py is not installed, or the file is damaged.
    """

    def collect(file: Any, module: Any) -> set[str]:
        found: set[str] = set()
        file.visititems(lambda name, one: found.add(name) if isinstance(one, module.Dataset) else None)
        return found

    return _with_file(path, collect)


def read_hdf5(path: Path, name: str) -> np.ndarray:
    """Return one dataset.

    Raises
    ------
    UserError
        If there is none of this name, it holds neither numbers nor text, or the file is damaged.
    """

    def read(file: Any, module: Any) -> np.ndarray:
        known = hdf5_names(path)
        if name.strip("/") not in known:
            there = ", ".join(map(repr, sorted(known)[:20])) or "nothing"
            raise UserError(f"{path} has no dataset {name!r}{did_you_mean(name, known)}; it has {there}")
        return _array(path, file[name], module)

    return _with_file(path, read)


def _array(path: Path, data: Any, module: Any) -> np.ndarray:
    if module.check_string_dtype(data.dtype) is not None:
        return np.array(data.asstr()[...], dtype=str)
    if data.dtype.kind not in "buif":
        raise UserError(f"{path}: {data.name} holds {data.dtype}, expected numbers or text")
    mapped = _mapped(path, data)
    if mapped is not None:
        return mapped
    if data.nbytes <= LARGE or not data.ndim:
        found: np.ndarray = data[...]
        return found
    rows = data.chunks[0] if data.chunks else 1
    facts = ["hdf5", *facts_of(path), data.name]

    def read(start: int, stop: int) -> np.ndarray:
        part: np.ndarray = data[start:stop]
        return part

    return stored_copy(facts, data.shape, data.dtype, read, rows)


def _mapped(path: Path, data: Any) -> np.ndarray | None:
    """Return a dataset mapped from its file, if it lies there in one piece and as it is."""
    offset = None if data.chunks or data.is_virtual or data.external or not data.size else data.id.get_offset()
    if offset is None or offset + data.nbytes > path.stat().st_size:
        return None
    found = np.memmap(path, data.dtype, "r", offset, data.shape)
    first = (0,) * data.ndim
    last = tuple(n - 1 for n in data.shape)
    same = all(np.array_equal(found[place], data[place], equal_nan=True) for place in (first, last))
    return found if same else None


def _with_file(path: Path, work: Callable[[Any, Any], T]) -> T:
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"HDF5 files are read by h5py ({one_line(error)}): pip install 'mpitrain[hdf5]'") from None
    with reading(path, _WANTED):
        try:
            with h5py.File(path, "r", locking="best-effort") as file:
                return work(file, h5py)
        except (OSError, KeyError) as error:  # its messages are of several lines of the library's own
            if isinstance(error, OSError) and error.errno is not None and not isinstance(error.strerror, str):
                raise
            raise ValueError(one_line(error)) from None
