"""NVRTC, the CUDA compiler as a library. It needs no GPU and no driver.

Six functions of a C interface that has not changed since CUDA 11 are called directly: CuPy's access to NVRTC has
changed between versions, and its RawModule compiles for sm_90 where wgmma and TMA need sm_90a.

A driver loads what an NVRTC of its own major version or an older one has built; another package, such as PyTorch, may
have brought a newer one. So those that the driver knows come first, among them that of CuPy's major version, then the
newest ones.
"""

import ctypes
import glob
import importlib.metadata
import os
import re
import sys
from functools import cache
from typing import Any, NamedTuple

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
    _check(_functions().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)), "nvrtcVersion")
    return f"{major.value}.{minor.value}"


def compile_text(text: str, name: str, options: list[str]) -> tuple[bytes, str]:
    """Return (cubin, log) of CUDA C++ ``text``; errors name the file ``name``.

    Raises
    ------
    CompileError
        With the compiler's log.
    """
    library, program = _functions(), ctypes.c_void_p()
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
    _check(_functions()[f"{what}Size"](program, ctypes.byref(size)), f"{what}Size")
    buffer = ctypes.create_string_buffer(size.value)
    _check(_functions()[what](program, buffer), what)
    return buffer.raw


def wgmma_remarks(log: str) -> list[str]:
    """Return the compiler's remarks on wgmma (C75xx): products that it has serialized, waits that it has put in."""
    return [line.strip() for line in log.splitlines() if re.search(r"\(C75\d\d\)", line)]


@cache
def driver_version() -> tuple[int, int] | None:
    """Return the newest CUDA version that this machine's driver knows; None without a driver, as on a login node."""
    number = ctypes.c_int()
    try:
        failed = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number))
    except (OSError, AttributeError):
        return None
    return None if failed else (number.value // 1000, number.value % 1000 // 10)


_refused: set[str] = set()  # libraries whose kernels the driver did not load


def use_next() -> bool:
    """Turn to the next NVRTC, after the driver has refused what this one built; return whether there is one."""
    path = _library().path
    _refused.add(path)
    forget()
    try:
        _library()
    except UserError:
        _refused.remove(path)
        return False
    return True


def is_named() -> bool:
    """Return whether the user has chosen a library."""
    return bool(os.environ.get("MPITRAIN_NVRTC"))


def forget() -> None:
    """Look for the library again when it is needed next."""
    _library.cache_clear()
    version.cache_clear()


def _paths() -> list[str]:
    """Return the NVRTC libraries of wheels and of the system, the best one first."""
    wheels = [path for folder in sys.path for path in glob.glob(f"{folder}/nvidia/*/lib/libnvrtc.so.[0-9]*")]
    paths = list(dict.fromkeys([*wheels, "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"]))
    known, wanted = driver_version(), _cupy_major()

    def rank(path: str) -> tuple[bool, bool, bool, int]:
        suffix = re.search(r"\.so\.(\d+)", path)
        major = int(suffix[1]) if suffix else 0
        return known is None or major <= known[0], major == wanted, path in wheels, major

    return sorted(paths, key=rank, reverse=True)


def _cupy_major() -> int:
    """Return the CUDA major version of the installed CuPy; 0 if there is none, or more than one."""
    majors = []
    for major in (12, 13):
        try:
            importlib.metadata.version(f"cupy-cuda{major}x")
            majors.append(major)
        except importlib.metadata.PackageNotFoundError:
            continue
    return majors[0] if len(majors) == 1 else 0


class _Library(NamedTuple):
    path: str
    functions: Any


@cache
def _library() -> _Library:
    """Load NVRTC: the file in MPITRAIN_NVRTC, else the best that is found."""
    named = os.environ.get("MPITRAIN_NVRTC")
    for path in [named] if named else _paths():
        if path in _refused:
            continue
        try:
            functions = ctypes.CDLL(path)
        except OSError as error:
            if named:
                raise UserError(f"MPITRAIN_NVRTC names {named}, which cannot be loaded: {error}") from None
            continue
        functions.nvrtcGetErrorString.restype = ctypes.c_char_p
        return _Library(path, functions)
    raise UserError(MISSING)


def _functions() -> Any:
    return _library().functions


def _error(code: int) -> str:
    return str(_functions().nvrtcGetErrorString(code).decode())


def _check(code: int, what: str) -> None:
    if code:
        raise RuntimeError(f"{what}: {_error(code)}")
