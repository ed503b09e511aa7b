"""The kernels in C (kernels/cpu): their extension module, and the instructions that they use.

``MPITRAIN_CPU`` chooses: ``numpy`` (no kernels in C, for tests and lectures) or a level, ``baseline``, ``avx2`` or
``avx512``. The default is the fastest level of this machine.

Attributes
----------
C : module or None
    The extension ``mpitrain._cpu_kernels``, ready to use; None where NumPy does the work.
why : str
    The level and the reason for it, or the reason why there is none.
"""

import os
from types import ModuleType
from typing import TYPE_CHECKING

from .errors import UserError

__all__ = ["BUILD", "VARIABLE", "C", "load", "why"]

VARIABLE = "MPITRAIN_CPU"
BUILD = 20  # of kernels/cpu/kernels.h: the kernels and their arguments that this package knows


def load(choice: str) -> tuple[ModuleType | None, str]:
    """Return the extension, set to the level ``choice`` ("" for the fastest), and the reason for the result.

    Without the extension, and with the choice ``numpy``, None is returned.

    Raises
    ------
    UserError
        If this machine, or this build, does not have the level.
    """
    if choice == "numpy":
        return None, f"{VARIABLE}=numpy asks for NumPy"
    try:
        from . import _cpu_kernels
    except ImportError as error:
        if choice:
            raise UserError(f"{VARIABLE} is {choice!r}, but the kernels in C are not there ({error})") from None
        missing = "was not built: installing found no C compiler or no Python.h"
        return None, f"the extension {missing}" if "cannot import name" in str(error) else str(error)
    if getattr(_cpu_kernels, "BUILD", 1) != BUILD:
        stale = "the extension was built from other sources: run pip install again"
        if choice:
            raise UserError(f"{VARIABLE} is {choice!r}, but {stale}")
        return None, stale
    if choice and not _cpu_kernels.use_level(choice):
        levels = ", ".join(_cpu_kernels.levels())
        raise UserError(f"{VARIABLE} is {choice!r}, but must be one of numpy, {levels} here")
    why = f"{VARIABLE}={choice}" if choice else "the fastest that this machine has"
    return _cpu_kernels, f"{_cpu_kernels.level()}, {why}"


if TYPE_CHECKING:
    from . import _cpu_kernels as C

    why: str
else:
    C, why = load(os.environ.get(VARIABLE, ""))
