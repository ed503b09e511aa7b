"""Kernels on the CPU: a .cu file built by g++ over shim/, and launched from Python.

    gemm = cpu.build("gemm_simt.cu", TRANSPOSE_A=1)
    gemm.launch("gemm_simt", grid=(4, 1, 1), block=(256, 1, 1), arguments=[...], seed=1)

Libraries are kept in build/kernels of the checkout, named by a hash of everything that they were made from.
"""

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mpitrain.kernels import SOURCES

ROOT = Path(__file__).parents[2]
KERNELS = SOURCES
SHIM = KERNELS / "shim"
BUILT = ROOT / "build" / "kernels"
COMPILER = shutil.which("g++")
FLAGS = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing"]
WARNINGS = ["-Wall", "-Wno-unknown-pragmas"]  # of kernels that were not edited
BOUNDS = [
    "-fsanitize=address",
    "-fsanitize-sections=shared_memory",
    "--param=asan-instrumentation-with-call-threshold=0",
    "--param=asan-stack=0",  # fibers take turns on stacks of their own, of which the sanitizer knows nothing
]

elsewhere: Callable[..., "Kernels"] | None = None  # what builds in place of g++ (conftest.py, --gpu)

needs_gxx = pytest.mark.gxx  # but for launches on a GPU (tests/conftest.py)


class Launch(RuntimeError):
    """A launch ended with an error: a barrier that not all threads reach, a wrong mask, a misaligned copy."""


def macro_of(text: str, given: Mapping[str, int], name: str) -> int:
    """Return a number that a source names: the one given to build, else the default in its text."""
    return given[name] if name in given else int(re.search(rf"^#define {name} (\d+)$", text, re.M)[1])


class Kernels:
    """The kernels of one built file."""

    def __init__(self, library: Path, text: str, macros: dict[str, int]):
        self._library = ctypes.CDLL(str(library))
        self._text = text
        self._macros = macros

    def macro(self, name: str) -> int:
        """Return a tile size: the one given to build, else the default in the file."""
        return macro_of(self._text, self._macros, name)

    def launch(
        self,
        name: str,
        *,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[np.ndarray],
        seed: int = 0,
        shared_bytes: int = 0,
        memory: Sequence[np.ndarray] = (),
    ) -> None:
        """Run a kernel. An argument is a 0-d array or a record (by value), or any other array (its address).

        ``memory`` are the arrays to which records point: for a GPU, where addresses are others (card.py).
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
            raise Launch(error.value.decode())


def build(name: str, edit: Callable[[str], str] | None = None, *, folder: Path = KERNELS, **macros: int) -> Kernels:
    """Build folder/name, its text changed by ``edit`` first; under MPITRAIN_ASAN=1 with bounds checks.

    What is edited has the headers of common/ in it, so that they can be changed too. With --gpu, card.py builds.
    """
    if elsewhere is not None and edit is None:
        return elsewhere(name, folder=folder, **macros)
    return build_here(name, edit, folder=folder, **macros)


def build_here(
    name: str, edit: Callable[[str], str] | None = None, *, folder: Path = KERNELS, **macros: int
) -> Kernels:
    """Build for the CPU, whatever the options of the tests."""
    text = (folder / name).read_text()
    if edit is not None:
        text = with_headers(text)
        broken = edit(text)
        assert broken != text, "the edit of the kernel changed nothing"
        text = broken
    return Kernels(_library(name, text, folder, tuple(sorted(macros.items())), edit is None), text, macros)


def with_headers(text: str, known: set[str] | None = None) -> str:
    """Return a text with the headers of common/ in it, each once, in place of their includes."""
    known = set() if known is None else known

    def header(match: re.Match) -> str:
        name = match[1].removeprefix("common/")
        if name in known:
            return ""
        known.add(name)
        return with_headers((KERNELS / "common" / name).read_text(), known)

    return re.sub(r'^#include "((?:common/)?\w+\.cuh)"$', header, text, flags=re.M)


@functools.cache
def _library(name: str, text: str, folder: Path, macros: tuple[tuple[str, int], ...], as_is: bool) -> Path:
    kernels = re.findall(
        r'^extern "C" __global__ void\s+(?:__cluster_dims__\((\w+), 1, 1\)\s+)?'
        r"(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(",
        text,
        re.M,
    )
    assert kernels, f"{name} has no kernel"
    exports = [f"EXPORT_KERNEL({kernel}, {cluster or 1})" for cluster, kernel in kernels]
    unit = "\n".join([f'#line 1 "{name}"', text, *exports, ""])
    command = ["-O1", *(WARNINGS if as_is else ["-w"]), "-include", str(SHIM / "cuda_on_cpu.h")]
    command += [f"-I{folder}", f"-I{KERNELS}", *(f"-D{key}={value}" for key, value in macros)]
    command += ["-shared", "-x", "c++", "-", "-x", "none", str(_shim())]
    return _compiled(f"{Path(name).stem}.so", command, unit)


@functools.cache
def _shim() -> Path:
    """Build what is the same for all kernels."""
    return _compiled("shim.so", ["-O2", *WARNINGS, "-shared", *map(str, sorted(SHIM.glob("*.cpp")))])


def _compiled(name: str, options: Sequence[str], unit: str = "") -> Path:
    """Run g++, unless it has made the same before."""
    command = [COMPILER or "g++", *FLAGS, *(BOUNDS if os.environ.get("MPITRAIN_ASAN") else []), *options]
    stem, kind = name.split(".")
    made = BUILT / f"{stem}-{_digest(unit, command)}.{kind}"
    if not made.exists():
        BUILT.mkdir(parents=True, exist_ok=True)
        fresh = made.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        done = subprocess.run([*command, "-o", fresh], input=unit, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert not done.stderr, f"warnings from g++:\n{done.stderr}"
        os.replace(fresh, made)
    return made


def build_ahead(jobs: Sequence[Callable[[], object]]) -> None:
    """Run builds two at a time."""
    _shim()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda job: job(), jobs))


def _digest(unit: str, command: Sequence[str]) -> str:
    parts = [unit, *command, _compiler_version()]
    parts += [path.read_text() for path in sorted([*SHIM.glob("*"), *(KERNELS / "common").glob("*.cuh")])]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@functools.cache
def _compiler_version() -> str:
    return subprocess.run([COMPILER or "g++", "--version"], capture_output=True, text=True, check=True).stdout
