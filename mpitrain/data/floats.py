"""Arrays of numbers as float32 or float64, whichever holds every value exactly."""

import math
from typing import Any

import numpy as np

from ..errors import UserError
from .mapped import is_mapped

_CHUNK = 1 << 22  # elements looked at in one go
_WHOLE_FLOAT32 = 1 << 24  # all integers up to here are float32 numbers
_WHOLE_FLOAT64 = 1 << 53  # and up to here float64 numbers


def as_floats(values: np.ndarray, where: str, names: tuple[str, ...] = ()) -> np.ndarray:
    """Return numbers as a C-contiguous array of float32, or of float64 where float32 could not hold them.

    Wider floats are float64 in any case, and float64 stays float64 without a look at its values. An array that is
    right as it is comes back itself: a memory map stays one.

    Parameters
    ----------
    values : (N, ...) array
    where : str
        The beginning of a message.
    names : tuple of str
        The names of the columns, the last dim.

    Raises
    ------
    UserError
        If they are no numbers, one is NaN or infinite, or an integer above 2**53 is no float64 number.
    """
    if values.dtype.kind not in "buif":
        raise UserError(f"{where} are of type {values.dtype}, expected numbers")
    return _of_mapped(values, where, names) if is_mapped(values) else _as_floats(values, where, names)


def _of_mapped(values: np.ndarray, where: str, names: tuple[str, ...]) -> np.ndarray:
    """Return what ``_as_floats`` does; a large array is checked and converted only once, part by part."""
    from . import large_arrays

    facts = large_arrays.facts_of_mapped(values) if values.nbytes > large_arrays.LARGE else None
    parts = large_arrays.parts_of(values.shape, values.dtype.itemsize)
    if facts is None or len(parts) < 2:
        return _as_floats(values, where, names)
    dtype = np.dtype(_type_for(values))
    if values.dtype == dtype and values.flags.c_contiguous:
        large_arrays.done_once(["finite", *facts], lambda: [_part(values, dtype, where, names, *one) for one in parts])
        return values

    def read(start: int, stop: int) -> np.ndarray:
        return _part(values, dtype, where, names, start, stop)

    return large_arrays.stored_copy(["floats", *facts], values.shape, dtype, read)


def _part(
    values: np.ndarray, dtype: np.dtype[Any], where: str, names: tuple[str, ...], start: int, stop: int
) -> np.ndarray:
    return _as_floats(values[start:stop], where, names, dtype.type, start)


def _as_floats(
    values: np.ndarray, where: str, names: tuple[str, ...], dtype: type | None = None, first: int = 0
) -> np.ndarray:
    """Return floats of rows from ``first`` on, checked."""
    with np.errstate(over="ignore"):  # a long double that does not fit becomes infinite, and is found as such
        floats = contiguous(values, dtype or _type_for(values))
    if values.dtype.kind == "f":
        for start, part in _chunks(floats):
            fault = f"{where} hold NaN, Inf or more than float64 can hold, first in"
            _refuse(~np.isfinite(part), first + start, fault, names)
    elif values.dtype.itemsize == 8:
        _check_integers(values, floats, where, names, first)
    return floats


def contiguous(values: np.ndarray, dtype: type) -> np.ndarray:
    """Return ``values`` themselves if they are C-contiguous and of ``dtype``, or such a copy."""
    if values.dtype == dtype and values.flags.c_contiguous:
        return values
    return np.ascontiguousarray(values, dtype)


def _type_for(values: np.ndarray) -> type:
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "f":
        return np.float32 if size <= 4 else np.float64
    if size <= 2 or not values.size:
        return np.float32
    fits = all(int(part.min()) >= -_WHOLE_FLOAT32 and int(part.max()) <= _WHOLE_FLOAT32 for _, part in _chunks(values))
    return np.float32 if fits else np.float64


def _check_integers(values: np.ndarray, floats: np.ndarray, where: str, names: tuple[str, ...], first: int) -> None:
    if floats.dtype == np.float32 or max(-int(values.min()), int(values.max())) <= _WHOLE_FLOAT64:
        return
    limit = float(np.iinfo(values.dtype).max)  # 2**63 or 2**64, one more than the greatest integer
    fault = f"{where} hold integers that float64 cannot tell from their neighbors, first in"
    cure = ": subtract an offset, or leave the column out if it holds names"
    for start, part in _chunks(floats):
        with np.errstate(invalid="ignore"):  # of those at the limit
            back = part.astype(values.dtype)
        _refuse((back != values[start : start + len(part)]) | (part >= limit), first + start, fault, names, cure)


def _chunks(values: np.ndarray) -> list[tuple[int, np.ndarray]]:
    rows = max(1, _CHUNK // max(1, math.prod(values.shape[1:])))
    return [(start, values[start : start + rows]) for start in range(0, len(values), rows)]


def _refuse(wrong: np.ndarray, start: int, fault: str, names: tuple[str, ...], cure: str = "") -> None:
    if not wrong.any():
        return
    place = np.argwhere(wrong)[0]
    column = f"column {names[int(place[-1])]!r} of " if names else ""
    raise UserError(f"{fault} {column}row {start + int(place[0])}{cure}")
