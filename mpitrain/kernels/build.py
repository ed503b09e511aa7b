"""Compilation of kernels for one architecture, once for each source, set of headers, flags and compiler.

Built files are stored in a cache: the folder in MPITRAIN_KERNELS, or mpitrain/kernels in the user's cache. Ranks race
for it. One of them compiles, the others wait for its lock; and a file appears whole or not at all, so that a file
system without locks costs time and nothing else.
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import UserError
from . import nvrtc
from .kernel import SOURCES, Kernel, text_with_headers

FOLDER_VARIABLE = "MPITRAIN_KERNELS"
FLAGS = ("--std=c++17",)


def build(kernel: Kernel, arch: str) -> Path:
    """Return the cubin of ``kernel`` for ``arch``, compiled if the cache has none.

    Raises
    ------
    UserError
        If there is no compiler, the kernel does not compile (``CompileError``), or the cache cannot be written.
    """
    return _build(kernel, arch)[0]


def build_all(kernels: Iterable[Kernel], arch: str) -> list[str]:
    """Build ``kernels`` on all cores (NVRTC releases Python's lock); return the compiler's remarks on wgmma."""
    nvrtc.version()  # finds the library, before threads do
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        built = list(pool.map(lambda kernel: (kernel, _build(kernel, arch)[1]), kernels))
    return [f"{kernel}: {remark}" for kernel, remarks in built for remark in remarks]


def _build(kernel: Kernel, arch: str) -> tuple[Path, list[str]]:
    """Return the path, and remarks on wgmma if this call has compiled it."""
    path, log = cached(kernel, arch), ""
    if path.exists():
        return path, []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_suffix(".lock")):
            if not path.exists():
                fresh = path.with_suffix(f".{os.getpid()}")
                cubin, log = compile_kernel(kernel, arch)
                fresh.write_bytes(cubin)
                os.replace(fresh, path)
    except OSError as error:
        raise UserError(
            f"the built kernels cannot be kept in {path.parent}: {error.strerror}; set {FOLDER_VARIABLE}"
        ) from error
    return path, nvrtc.wgmma_remarks(log)


def compile_kernel(kernel: Kernel, arch: str) -> tuple[bytes, str]:
    """Return (cubin, compiler's log) without the cache."""
    return nvrtc.compile_text(_text(kernel), f"kernels/{kernel.file}", options(kernel, arch))


def options(kernel: Kernel, arch: str) -> list[str]:
    """Return the compiler's options."""
    macros = [f"-D{key}={value}" for key, value in kernel.macros]
    return [f"--gpu-architecture={arch}", *FLAGS, *macros, f"-I{SOURCES}"]


def cached(kernel: Kernel, arch: str) -> Path:
    """Return the path of the cubin in the cache: one for all kernels of a file with the same macros."""
    texts = [part for named in text_with_headers(kernel.file).items() for part in named]
    parts = [*texts, arch, *FLAGS, *(f"{key}={value}" for key, value in kernel.macros), nvrtc.version()]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
    return folder() / f"{Path(kernel.file).stem}-{arch}-{digest}.cubin"


def folder() -> Path:
    """Return the folder of the cache."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mpitrain" / "kernels"


def _text(kernel: Kernel) -> str:
    return text_with_headers(kernel.file)[str(Path(kernel.file))]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock ``path``, if the file system has locks."""
    with open(path, "w") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    with contextlib.suppress(OSError):
        path.unlink()
