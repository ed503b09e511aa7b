"""Conversion of object arrays, as data frames give for text columns, to arrays of text or numbers."""

import numpy as np

from ...errors import UserError

_INTEGERS = ((np.int64, -(1 << 63), 1 << 63), (np.uint64, 0, 1 << 64))  # dtype, least, one more than the greatest
_WHOLE_FLOAT64 = 1 << 53


def plain_array(values: np.ndarray, where: str) -> np.ndarray:
    """Return Python objects as an array of text, bytes, truth values, int64, uint64 or float64.

    Integers that none of these holds become text, so that they stay distinct. Integers among floats become float64.

    Parameters
    ----------
    values : array of object
    where : str
        The beginning of a message.

    Raises
    ------
    UserError
        If values are of different kinds, missing, or would be changed.
    """
    flat = values.reshape(-1).tolist()
    types = {type(value) for value in flat}
    if types <= {int, bool}:
        return _integers(flat, types).reshape(values.shape)
    if types <= {int, bool, float}:
        big = next((row for row, value in enumerate(flat) if abs(value) > _WHOLE_FLOAT64 and type(value) is int), None)
        if big is not None:
            raise UserError(f"{where} holds fractions and integers above 2**53, such as {flat[big]}, which do not fit")
        return np.array(flat, np.float64).reshape(values.shape)
    for kind in (str, bytes):
        if types == {kind}:
            out = np.array(flat)
            if any(map(len, flat)) and out.tolist() != flat:  # NumPy drops what is zero at the end
                raise UserError(f"{where} holds text that ends in a zero character, which NumPy cannot keep")
            return out.reshape(values.shape)
    raise UserError(f"{where} {_mixed(flat)}")


def _integers(flat: list[int], types: set[type]) -> np.ndarray:
    if types == {bool}:
        return np.array(flat, bool)
    least, greatest = min(flat, default=0), max(flat, default=0)
    for dtype, low, end in _INTEGERS:
        if low <= least and greatest < end:
            return np.array(flat, dtype)
    return np.array([str(int(value)) for value in flat])


def _mixed(flat: list[object]) -> str:
    """Return the error about the first value whose type differs from that of the first one."""
    first = type(flat[0])
    other = next((row for row, value in enumerate(flat) if type(value) is not first), 0)
    cure = "np.array(labels, dtype=str) makes all of them text, or remove missing ones"
    return (
        f"holds Python objects of different types, {first.__name__} ({_short(flat[0])}) and "
        f"{type(flat[other]).__name__} ({_short(flat[other])} in row {other}): {cure}"
    )


def _short(value: object, most: int = 20) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."
