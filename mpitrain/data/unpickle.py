"""A pickle reader that can make arrays of bytes, dicts, lists, texts and numbers, and nothing else.

A pickle is a program: the ordinary reader calls any function that the file names. This one knows five names, those
that files of NumPy arrays use, and calls functions of its own in their place: NumPy never sees what the file says.
"""

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .files import one_line, reading


class PickledArray:
    """An array of bytes found in a pickle: ``values`` is it, read-only."""

    values: np.ndarray = np.empty(0, np.uint8)  # until its state is read

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        if not isinstance(kind, _ByteType) or not isinstance(data, bytes) or math.prod(shape) != len(data):
            raise pickle.UnpicklingError("an array that is not of bytes")
        self.values = np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran else "C")


def unpickle(path: Path) -> Any:
    """Return what the pickle holds; texts of Python 2 come as bytes, arrays as ``PickledArray``.

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
        except _ForbiddenError as error:
            raise UserError(f"{path} asks for {error}, expected nothing but arrays of bytes and plain values") from None
        except Exception as error:  # a damaged pickle is a damaged program: it may raise anything
            raise UserError(f"{path} is cut off or no pickle of arrays ({one_line(error)})") from None


class _ForbiddenError(Exception):
    """What a pickle asked for and does not get."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[f"{module}.{name}"]
        except KeyError:
            raise _ForbiddenError(f"{module}.{name}") from None


class _ByteType:
    """In the place of ``numpy.dtype``; its state holds byte order and field names, which bytes do not have."""

    def __init__(self, code: Any, *flags: Any):
        text = code.decode("latin1") if isinstance(code, bytes) else code
        if text not in ("u1", "|u1"):
            raise _ForbiddenError(f"an array of type {text}")

    def __setstate__(self, state: Any) -> None:
        pass


def _reconstruct(kind: Any, shape: Any, code: Any) -> PickledArray:
    """Return an array without content, as NumPy's function of this name; its state follows."""
    return PickledArray()


def _encode(text: Any, encoding: Any) -> bytes:
    """Return bytes from text, as Python 3 writes them for Python 2."""
    if encoding not in ("latin1", b"latin1"):
        raise _ForbiddenError(f"the encoding {encoding!r}")
    return text.encode("latin1")


_KNOWN: dict[str, Any] = {
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy.ndarray": PickledArray,
    "numpy.dtype": _ByteType,
    "_codecs.encode": _encode,
}
