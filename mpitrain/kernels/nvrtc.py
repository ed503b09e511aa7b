"""NVRTC, the CUDA compiler as a library. It needs no GPU and no driver.

Six functions of a C interface that has not changed since CUDA 11 are called directly: CuPy's access to NVRTC has
changed between versions, and its RawModule compiles for sm_90 where wgmma and TMA need sm_90a.
"""

import ctypes
import glob
import os
import sys
from functools import cache
from typing import Any

from ..errors import UserError

MISSING = (
    "NVRTC, the CUDA compiler, is not installed: pip install 'mpitrain[cuda12]' (or cuda13), or set MPITRAIN_NVRTC to "
    "its libnvrtc.so"
)


class CompileError(UserError):
    """A kernel does not compile; the message is the compiler's, with files and lines of this package."""


@cache
def version() -> str:
    """Return the compiler's version, such as 12.9."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)), "nvrtcVersion")
    return f"{major.value}.{minor.value}"


def compile_text(text: str, name: str, options: list[str]) -> tuple[bytes, str]:
    """Return (cubin, log) of CUDA C++ ``text``; errors name the file ``name``.

    Raises
    ------
    CompileError
        With the compiler's log.
    """
    library, program = _library(), ctypes.c_void_p()
    _check(
        library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name.encode(), 0, None, None),
        "nvrtcCreateProgram",
    )
    try:
        encoded = [option.encode() for option in options]
        failed = library.nvrtcCompileProgram(program, len(encoded), (ctypes.c_char_p * len(encoded))(*encoded))
        log = _output(program, "nvrtcGetProgramLog").rstrip(b"\0").decode(errors="replace").strip()
        if failed:
            raise CompileError(f"{name} does not compile ({' '.join(options)}):\n{log or _error(failed)}")
        return _output(program, "nvrtcGetCUBIN"), log
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _output(program: Any, what: str) -> bytes:
    """Return the output of the function ``what``, after a call for its size."""
    size = ctypes.c_size_t()
    _check(_library()[f"{what}Size"](program, ctypes.byref(size)), f"{what}Size")
    buffer = ctypes.create_string_buffer(size.value)
    _check(_library()[what](program, buffer), what)
    return buffer.raw


@cache
def _library() -> Any:
    """Load NVRTC: the file in MPITRAIN_NVRTC, else the newest from a wheel, else the system's."""
    named = os.environ.get("MPITRAIN_NVRTC")
    wheels = [path for folder in sys.path for path in glob.glob(f"{folder}/nvidia/*/lib/libnvrtc.so.[0-9]*")]
    system = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"]
    for path in [named] if named else [*sorted(wheels, key=lambda path: path.rsplit(".", 1)[-1])[::-1], *system]:
        try:
            library = ctypes.CDLL(path)
        except OSError as error:
            if named:
                raise UserError(f"MPITRAIN_NVRTC names {named}, which cannot be loaded: {error}") from None
            continue
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        return library
    raise UserError(MISSING)


def _error(code: int) -> str:
    return str(_library().nvrtcGetErrorString(code).decode())


def _check(code: int, what: str) -> None:
    if code:
        raise RuntimeError(f"{what}: {_error(code)}")
