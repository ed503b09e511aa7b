"""Compilation of kernels for one architecture, once for each source, set of headers, flags and compiler.

Built files are stored in a cache: the folder in MPITRAIN_KERNELS, or mpitrain/kernels in the user's cache. Ranks race
for it. One of them compiles, the others wait for its lock; and a file appears whole or not at all, so that a file
system without locks costs time and nothing else.

What an NVRTC of another version has built, on a login node say, is taken before a kernel is compiled, if the driver
knows that version: so a machine without NVRTC can launch what was built ahead.
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
from .kernel import SOURCES, Kernel, text_of, text_with_headers

FOLDER_VARIABLE = "MPITRAIN_KERNELS"
FLAGS = ("--std=c++17",)


def build(kernel: Kernel, arch: str) -> Path:
    """Return the cubin of ``kernel`` for ``arch`` by this NVRTC, compiled if the cache has none.

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


def find_or_build(kernel: Kernel, arch: str) -> Path:
    """Return a cubin by this NVRTC or by the newest that the driver may know, compiled if the cache has none."""
    return _built(kernel, arch) or build(kernel, arch)


def compile_kernel(kernel: Kernel, arch: str) -> tuple[bytes, str]:
    """Return (cubin, compiler's log) without the cache.

    NVRTC looks for headers beside the file that it is told of, so it is told of its real place: under the name that
    messages show, headers of another checkout might be found in the working directory.
    """
    folder = f"{SOURCES}/"
    try:
        cubin, log = nvrtc.compile_text(text_of(kernel.file), f"{folder}{kernel.path}", options(kernel, arch))
    except nvrtc.CompileError as error:
        raise nvrtc.CompileError(str(error).replace(folder, "kernels/")) from None
    return cubin, log.replace(folder, "kernels/")


def options(kernel: Kernel, arch: str) -> list[str]:
    """Return the compiler's options."""
    macros = [f"-D{key}={value}" for key, value in kernel.macros]
    return [f"--gpu-architecture={arch}", *FLAGS, *macros, f"-I{SOURCES}"]


def cached(kernel: Kernel, arch: str) -> Path:
    """Return the path of the cubin in the cache: one for all kernels of a file with the same macros."""
    return folder() / f"{_stem(kernel, arch)}-cuda{nvrtc.version()}.cubin"


def version_of(cubin: Path) -> str:
    """Return the version of the NVRTC that built a file of the cache."""
    return cubin.stem.rpartition("-cuda")[2]


def refuse(kernel: Kernel, arch: str, version: str) -> bool:
    """Take nothing more that NVRTC ``version`` has built: the driver does not load it. Return whether others remain."""
    _refused.add(version)
    return _own_version() not in _refused or nvrtc.use_next() or _built(kernel, arch) is not None


_refused: set[str] = set()  # versions of NVRTC


def _own_version() -> str:
    try:
        return nvrtc.version()
    except UserError:
        return ""


def _built(kernel: Kernel, arch: str) -> Path | None:
    """Return the cubin in the cache that was built by this NVRTC, or the newest that the driver may know."""
    own, driver = _own_version(), nvrtc.driver_version()
    found = {version_of(path): path for path in folder().glob(f"{_stem(kernel, arch)}-cuda*.cubin")}
    others = [v for v in sorted(found, key=_numbers, reverse=True) if driver is None or _numbers(v)[0] <= driver[0]]
    for version in [own, *([] if nvrtc.is_named() else others)]:
        if version in found and version not in _refused:
            return found[version]
    return None


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def _stem(kernel: Kernel, arch: str) -> str:
    texts = [part for name, text in text_with_headers(kernel.file).items() for part in (Path(name).name, text)]
    parts = [*texts, arch, *FLAGS, *(f"{key}={value}" for key, value in kernel.macros)]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
    return f"{Path(kernel.file).stem}-{arch}-{digest}"


def folder() -> Path:
    """Return the folder of the cache."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mpitrain" / "kernels"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock ``path``, if the file system has locks."""
    with open(path, "w") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    with contextlib.suppress(OSError):
        path.unlink()
