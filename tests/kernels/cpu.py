"""Kernels on the CPU for tests: a .cu file built by g++ over the shim (mpitrain/kernels/on_cpu.py) and launched.

    gemm = cpu.build("gemm_simt.cu", TRANSPOSE_A=1)
    gemm.launch("gemm_simt", grid=(4, 1, 1), block=(256, 1, 1), arguments=[...], seed=1)

Libraries are kept in build/kernels of the checkout.
"""

import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mpitrain.kernels import SOURCES
from mpitrain.kernels.kernel import text_of
from mpitrain.kernels.on_cpu import COMPILER as COMPILER
from mpitrain.kernels.on_cpu import WARNINGS, Builder, LaunchError, Library

ROOT = Path(__file__).parents[2]
KERNELS, PROBES = SOURCES, Path(__file__).parent / "shim"
BUILT = ROOT / "build" / "kernels"
Launch = LaunchError
BOUNDS = [
    "-fsanitize=address",
    "-fsanitize=alignment,shift,signed-integer-overflow,integer-divide-by-zero,bounds",
    "-fno-sanitize-recover=undefined",
    "-fsanitize-sections=shared_memory",
    "--param=asan-instrumentation-with-call-threshold=0",
    "--param=asan-stack=0",  # fibers take turns on stacks of their own, of which the sanitizer knows nothing
]
BUILDER = Builder(BUILT, BOUNDS if os.environ.get("MPITRAIN_ASAN") else [])

elsewhere: Callable[..., "Kernels"] | None = None  # what builds in place of g++ (conftest.py, --gpu)

needs_gxx = pytest.mark.gxx  # but for launches on a GPU (tests/conftest.py)


def macro_of(text: str, given: Mapping[str, int], name: str) -> int:
    """Return a number that a source names: the one given to build, else the default in its text."""
    return given[name] if name in given else int(re.search(rf"^#define {name} (\d+)$", text, re.M)[1])


class Kernels:
    """The kernels of one built file."""

    def __init__(self, library: Path, text: str, macros: dict[str, int]):
        self._library = Library(library)
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
        self._library.launch(name, grid=grid, block=block, arguments=arguments, seed=seed, shared_bytes=shared_bytes)


def build(name: str, edit: Callable[[str], str] | None = None, *, folder: Path | None = None, **macros: int) -> Kernels:
    """Build a kernel, or folder/name, its text changed by ``edit`` first; under MPITRAIN_ASAN=1 with bounds checks.

    What is edited has its headers in it, so that they can be changed too. With --gpu, card.py builds.
    """
    if elsewhere is not None and edit is None:
        return elsewhere(name, folder=folder, **macros)
    return build_here(name, edit, folder=folder, **macros)


def build_here(
    name: str, edit: Callable[[str], str] | None = None, *, folder: Path | None = None, **macros: int
) -> Kernels:
    """Build for the CPU, whatever the options of the tests."""
    text = text_of(str(folder / name) if folder else name)
    if edit is not None:
        text = with_headers(text)
        broken = edit(text)
        if broken == text:  # no AssertionError: with that a test would take the mistake for found
            raise LookupError("the edit of the kernel changed nothing")
        text = broken
    return Kernels(_library(name, text, tuple(sorted(macros.items())), edit is None), text, macros)


def with_headers(text: str, known: set[str] | None = None) -> str:
    """Return a text with the headers of kernels in it, each once, in place of their includes."""
    known = set() if known is None else known

    def header(match: re.Match) -> str:
        if match[1] in known:
            return ""
        known.add(match[1])
        return with_headers((KERNELS / match[1]).read_text(), known)

    return re.sub(r'^#include "([\w/]+\.cuh)"$', header, text, flags=re.M)


@functools.cache
def _library(name: str, text: str, macros: tuple[tuple[str, int], ...], as_is: bool) -> Path:
    warnings = WARNINGS if as_is else ["-w"]
    return BUILDER.build_library(name, text, [KERNELS], dict(macros), warnings)


def build_ahead(jobs: Sequence[Callable[[], object]]) -> None:
    """Run builds two at a time."""
    _ = BUILDER.shim
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda job: job(), jobs))
