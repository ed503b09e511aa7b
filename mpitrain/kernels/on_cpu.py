"""Kernels on the CPU: a CUDA source built by g++ over the shim of ``sources/shim``, and launched from Python.

    builder = Builder(folder)
    library = Library(builder.build_library("gemm_simt.cu", text, [SOURCES], {"TRANSPOSE_A": 1}))
    library.launch("gemm_simt", grid=(4, 1, 1), block=(256, 1, 1), arguments=[...], seed=1)

Libraries are kept in a folder, named by a hash of everything that they were made from.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from .kernel import ENTRY, SOURCES

SHIM = SOURCES / "shim"
COMPILER = shutil.which("g++")
FLAGS = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing")
WARNINGS = ("-Wall", "-Wno-unknown-pragmas")


class LaunchError(RuntimeError):
    """A launch that failed: a barrier that not all threads reach, a wrong mask, a misaligned copy."""


class BuildError(Exception):
    """A source that g++ refuses, or warns of; the message is its output."""


class Builder:
    """Builds libraries of kernels, each once.

    Parameters
    ----------
    folder : Path
        Folder of the built files.
    flags : sequence of str, optional
        More flags of g++ for everything that is built.
    """

    def __init__(self, folder: Path, flags: Sequence[str] = ()):
        self.folder, self._flags = folder, tuple(flags)

    def build_library(
        self,
        name: str,
        text: str,
        include: Sequence[Path],
        macros: Mapping[str, int],
        warnings: Sequence[str] = WARNINGS,
    ) -> Path:
        """Build the source ``text`` of a file called ``name``, whose kernels are extern "C".

        Raises
        ------
        BuildError
            If g++ says anything.
        """
        kernels = list(ENTRY.finditer(text))
        if not kernels:
            raise BuildError(f"{name} has no kernel")
        exports = [f"EXPORT_KERNEL({kernel['name']}, {kernel['cluster'] or 1})" for kernel in kernels]
        unit = "\n".join([f'#line 1 "{name}"', text, *exports, ""])
        command = ["-O1", *warnings, "-include", str(SHIM / "cuda_on_cpu.h"), *(f"-I{path}" for path in include)]
        command += [f"-D{key}={value}" for key, value in macros.items()]
        command += ["-shared", "-x", "c++", "-", "-x", "none", str(self.shim)]
        return self.compiled(f"{Path(name).stem}.so", command, unit)

    @cached_property
    def shim(self) -> Path:
        """The library that is the same for all kernels."""
        return self.compiled("shim.so", ["-O2", *WARNINGS, "-shared", *map(str, sorted(SHIM.glob("*.cpp")))])

    def compiled(self, name: str, options: Sequence[str], unit: str = "", reads: Sequence[Path] = ()) -> Path:
        """Run g++ for the file ``name``, with ``unit`` as its standard input, unless it has made the same before.

        ``reads`` are files that it reads, beside those of the shim and the headers of kernels.
        """
        command = [COMPILER or "g++", *FLAGS, *self._flags, *options]
        stem, kind = name.split(".")
        made = self.folder / f"{stem}-{_digest(unit, command, reads)}.{kind}"
        if not made.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            fresh = made.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
            done = subprocess.run([*command, "-o", fresh], input=unit, text=True, capture_output=True)
            if done.returncode or done.stderr:
                fresh.unlink(missing_ok=True)
                raise BuildError(done.stderr)
            os.replace(fresh, made)
        return made


class Library:
    """The kernels of one built file."""

    def __init__(self, path: Path):
        self._library = ctypes.CDLL(str(path))

    def launch(
        self,
        name: str,
        *,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[np.ndarray],
        seed: int = 0,
        shared_bytes: int = 0,
    ) -> None:
        """Run a kernel. An argument is a 0-d array or a record (by value), or any other array (its address).

        Raises
        ------
        LaunchError
            With the message of the shim.
        """
        values = [a if a.ndim == 0 else np.array(a.ctypes.data, np.uint64) for a in arguments]
        pointers = (ctypes.c_void_p * len(values))(*[v.ctypes.data for v in values])
        error = ctypes.create_string_buffer(400)
        failed = self._library[f"launch_{name}"](
            (ctypes.c_uint * 3)(*grid),
            (ctypes.c_uint * 3)(*block),
            ctypes.c_size_t(shared_bytes),
            pointers,
            ctypes.c_uint(seed),
            error,
            ctypes.c_size_t(len(error)),
        )
        if failed:
            raise LaunchError(error.value.decode())


def _digest(unit: str, command: Sequence[str], reads: Sequence[Path]) -> str:
    parts = [unit, *command, _compiler_version()]
    parts += [path.read_text() for path in sorted([*SHIM.glob("*"), *SOURCES.rglob("*.cuh"), *reads])]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@cache
def _compiler_version() -> str:
    return subprocess.run([COMPILER or "g++", "--version"], capture_output=True, text=True, check=True).stdout
