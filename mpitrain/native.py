"""The kernels in C (kernels/cpu), where they were built, and which instructions they use.

MPITRAIN_CPU chooses: ``numpy`` (no native kernels: for tests and lectures), or a level, ``baseline``, ``avx2`` or
``avx512``; without it the fastest level that this machine has.
"""

import os
from types import ModuleType

from .errors import UserError

VARIABLE = "MPITRAIN_CPU"
BUILD = 6  # of kernels/cpu/kernels.h: the kernels and their arguments that this package knows


def load(choice: str) -> tuple[ModuleType | None, str]:
    """Return the extension, ready to run at the level ``choice`` ("" for the fastest), and why it is so.

    Without the extension, or with the choice ``numpy``, None is returned.

    Raises
    ------
    UserError
        If this machine, or this build, has no such level.
    """
    if choice == "numpy":
        return None, f"{VARIABLE}=numpy asks for NumPy"
    try:
        from . import _native
    except ImportError as error:
        if choice:
            raise UserError(f"{VARIABLE} is {choice!r}, but the native kernels are not there ({error})") from None
        missing = "was not built: installing found no C compiler or no Python.h"
        return None, f"the extension {missing}" if "cannot import name" in str(error) else str(error)
    if getattr(_native, "BUILD", 1) != BUILD:
        stale = "the extension was built from other sources: run pip install again"
        if choice:
            raise UserError(f"{VARIABLE} is {choice!r}, but {stale}")
        return None, stale
    if choice and not _native.use_level(choice):
        raise UserError(f"{VARIABLE} is {choice!r}, but must be one of numpy, {', '.join(_native.levels())} here")
    why = f"{VARIABLE}={choice}" if choice else "the fastest that this machine has"
    return _native, f"{_native.level()}, {why}"


kernels, why = load(os.environ.get(VARIABLE, ""))
