"""Restricted pickle reader: arrays of bytes or plain values, dicts, lists, texts and numbers only.

A pickle is a program: the ordinary reader calls any function that the file names. This one knows the few names that
files of NumPy arrays use, and calls functions of its own in their place: NumPy never sees what the file says.
"""

import math
import pickle
import re
from pathlib import Path
from typing import IO, Any

import numpy as np

from ...errors import UserError
from ..files import one_line, reading


class PickledArray:
    """Array of bytes from a pickle; ``values`` is the read-only array."""

    values: np.ndarray = np.empty(0, np.uint8)  # until its state is read

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        if not isinstance(kind, _ByteType) or not isinstance(data, bytes) or math.prod(shape) != len(data):
            raise pickle.UnpicklingError("an array that is not of bytes")
        self.values = np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran else "C")


class PickledObjects:
    """Array of Python objects from a pickle; ``values`` has dtype object."""

    values: np.ndarray = np.empty(0, object)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, _, data = state
        if not isinstance(kind, _ScalarType) or not isinstance(data, list | bytes):
            raise pickle.UnpicklingError("an array without content")
        if kind.code != "O" or isinstance(data, bytes):
            raise ForbiddenError(f"an array of type {kind.code}")
        values = np.empty(len(data), object)
        for place, value in enumerate(data):  # at once, NumPy would look into lists
            values[place] = value
        self.values = values.reshape(shape)  # the list is in C order even where the array was not


class ForbiddenError(Exception):
    """Refusal of a class or function that a pickle requests."""


def unpickle(path: Path) -> Any:
    """Return the content of a pickle; texts of Python 2 are bytes, arrays are ``PickledArray``.

    Raises
    ------
    UserError
        If the file is no pickle, is cut off, or holds anything but arrays of bytes and plain values.
    """
    with reading(path, "a pickle"), path.open("rb") as stream:
        try:
            return _Unpickler(stream, encoding="bytes").load()
        except OSError:
            raise
        except ForbiddenError as error:
            raise UserError(f"{path} asks for {error}, expected nothing but arrays of bytes and plain values") from None
        except Exception as error:  # a damaged pickle is a damaged program: it may raise anything
            raise UserError(f"{path} is cut off or no pickle of arrays ({one_line(error)})") from None


def unpickle_objects(stream: IO[bytes]) -> np.ndarray:
    """Return the array of plain Python values that NumPy has pickled into an .npy file after its header.

    Raises
    ------
    ForbiddenError
        If the pickle asks for anything else.
    ValueError
        If it is damaged.
    """
    try:
        found = _ObjectUnpickler(stream, encoding="latin1").load()
    except (OSError, EOFError, ForbiddenError):
        raise
    except Exception as error:  # see above
        raise ValueError(one_line(error)) from None
    if not isinstance(found, PickledObjects):
        raise ValueError("no array of objects")
    return found.values


class _ByteType:
    """Stand-in for ``numpy.dtype`` of bytes; its state (byte order, field names) is ignored."""

    def __init__(self, code: Any, *flags: Any):
        text = code.decode("latin1") if isinstance(code, bytes) else code
        if text not in ("u1", "|u1"):
            raise ForbiddenError(f"an array of type {text}")

    def __setstate__(self, state: Any) -> None:
        pass


class _ScalarType:
    """Stand-in for ``numpy.dtype`` in arrays of objects: of the array, or of a NumPy number in it."""

    _order = "<"

    def __init__(self, code: Any, *flags: Any):
        match = re.fullmatch(r"[|<>=]?(?:(O)8?|([biuf][1248]|[US]\d{1,6}))", str(code))
        if not match:
            raise ForbiddenError(f"values of type {code}")
        self.code = match[1] or match[2]

    def __setstate__(self, state: Any) -> None:
        self._order = ">" if state[1] == ">" else "<"

    def read(self, data: Any) -> Any:
        """Return the Python value of a NumPy scalar's bytes."""
        if self.code == "O" or not isinstance(data, bytes):
            raise pickle.UnpicklingError("a scalar without bytes")
        (value,) = np.frombuffer(data, np.dtype(self._order + self.code)).tolist()
        return value


def _reconstruct(kind: Any, shape: Any, code: Any) -> Any:
    """Return an array without content, as NumPy's function of this name; its state follows."""
    if kind not in (PickledArray, PickledObjects):
        raise pickle.UnpicklingError("an array of another kind")
    return kind()


def _scalar(kind: Any, data: Any) -> Any:
    """Return a NumPy scalar as Python's value, as NumPy's function of this name."""
    if not isinstance(kind, _ScalarType):
        raise pickle.UnpicklingError("a scalar without type")
    return kind.read(data)


def _encode(text: Any, encoding: Any) -> bytes:
    """Return bytes from text, as Python 3 writes them for Python 2."""
    if encoding not in ("latin1", b"latin1"):
        raise ForbiddenError(f"the encoding {encoding!r}")
    encoded: bytes = text.encode("latin1")
    return encoded


def _known(array: type, kind: type, **more: Any) -> dict[str, Any]:
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")  # NumPy 1 and 2
    functions = {"_reconstruct": _reconstruct, **more}
    return {
        "numpy.ndarray": array,
        "numpy.dtype": kind,
        "_codecs.encode": _encode,
        **{f"{module}.{name}": function for module in modules for name, function in functions.items()},
    }


class _Unpickler(pickle.Unpickler):
    known = _known(PickledArray, _ByteType)

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.known[f"{module}.{name}"]
        except KeyError:
            raise ForbiddenError(f"{module}.{name}") from None


class _ObjectUnpickler(_Unpickler):
    known = _known(PickledObjects, _ScalarType, scalar=_scalar)
