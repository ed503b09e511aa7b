"""bf16 as the type of arrays: that of ml_dtypes, which NumPy's arrays and those of CuPy 14 can have.

bf16 is the upper half of a float32: 8 bits of exponent, 7 of fraction. CuPy knows it if ml_dtypes is installed and
NumPy is 2.1.2 or newer.
"""

import importlib
from functools import cache
from typing import Any

import numpy as np

from ..errors import UserError


@cache
def bfloat16() -> "np.dtype[Any]":
    """Return the type.

    Raises
    ------
    UserError
        If ml_dtypes is not installed, or NumPy is too old for CuPy's arrays of it.
    """
    if np.lib.NumpyVersion(np.__version__) < "2.1.2":
        raise UserError(f"--precision bf16 needs NumPy 2.1.2 or newer, not {np.__version__}")
    try:
        found = importlib.import_module("ml_dtypes").bfloat16
    except ImportError:
        raise UserError("--precision bf16 needs ml_dtypes: pip install ml_dtypes") from None
    made: np.dtype[Any] = np.dtype(found)
    return made


def is_bf16(array: Any) -> bool:
    """Return whether the elements of ``array`` are bf16."""
    return bool(array.dtype.type.__name__ == "bfloat16")


def widened(array: np.ndarray) -> np.ndarray:
    """Return ``array``, in fp32 if it is bf16: few functions of NumPy take that, and sums would be made in it."""
    return array.astype(np.float32) if is_bf16(array) else array
