"""Descriptions of kernels: a file, the entry in it, and the macros that fix its tile, layout and types."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).parent / "sources"
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)
ENTRY = re.compile(  # in code whose comments hold no kernels
    r"(?P<template>template\s*<[^>]*>\s*)?__global__\s+"
    r"(?:(?:static\b|void\b|__launch_bounds__\s*\((?:[^()]|\([^()]*\))*\)"
    r"|__cluster_dims__\((?P<cluster>\w+), 1, 1\))\s*)+"
    r"(?P<name>\w+)\s*\((?P<parameters>[^)]*)\)(?!\s*;)"
)
ARCH = re.compile(r"^// Arch: sm_(\d+)(a?)", re.M)


@dataclass(frozen=True)
class Kernel:
    """One kernel of one file.

    Attributes
    ----------
    file : str
        Its name in one of the folders of ``SOURCES``; see ``path_of``.
    name : str
        The name of the function, which is extern "C".
    macros : tuple of (str, int)
        Sorted by name.
    least_arch : int
        The oldest architecture for which it compiles: 75, 80, 90.
    exact_arch : bool
        Whether its instructions exist on that architecture alone (sm_90a).
    """

    file: str
    name: str
    macros: tuple[tuple[str, int], ...] = ()
    least_arch: int = 75
    exact_arch: bool = False

    @property
    def path(self) -> Path:
        """The path of the file below ``SOURCES``, as messages show it."""
        return path_of(self.file)

    def fits(self, arch: str) -> bool:
        """Return whether it can be built for ``arch`` (sm_80, sm_90a ...)."""
        number = arch_number(arch)
        if self.exact_arch:
            return number == self.least_arch and arch.endswith("a")
        return number >= self.least_arch

    def __str__(self) -> str:
        macros = " ".join(f"{key}={value}" for key, value in self.macros)
        return f"{self.file}:{self.name}" + (f" {macros}" if macros else "")


def kernel(
    file: str, macros: Mapping[str, int] | None = None, *, name: str = "", least_arch: int | None = None
) -> Kernel:
    """Return the kernel of ``file`` with its name (or ``name``) and these macros.

    The architecture comes from a line like "// Arch: sm_90a" of the file; the default is sm_75.
    """
    least, exact = _architecture(SOURCES / path_of(file))
    pairs = tuple(sorted((macros or {}).items()))
    return Kernel(file, name or Path(file).stem, pairs, least if least_arch is None else least_arch, exact)


@cache  # the planner makes many kernels of a few files, and the ladder one in each launch
def _architecture(path: Path) -> tuple[int, bool]:
    found = ARCH.search(path.read_text())
    return (int(found[1]), found[2] == "a") if found else (75, False)


def path_of(file: str) -> Path:
    """Return the path below ``SOURCES`` of a file, whose name is unique there. A path stays as it is.

    Raises
    ------
    FileNotFoundError
        If no folder has such a file.
    """
    if Path(file).name != file:
        return Path(file)
    try:
        return _places(SOURCES)[file]
    except KeyError:
        raise FileNotFoundError(f"no folder of {SOURCES} has a file {file}") from None


def sources(folder: str = "") -> list[str]:
    """Return the names of all CUDA sources, or of those in one folder, sorted."""
    return sorted(name for name, path in _places(SOURCES).items() if folder in ("", str(path.parent)))


@cache
def _places(top: Path) -> dict[str, Path]:
    return {path.name: path.relative_to(top) for path in sorted(top.rglob("*.cu"))}


def arch_number(arch: str) -> int:
    """Return 90 for sm_90a."""
    return int(arch.removeprefix("sm_").removesuffix("a"))


def text_with_headers(file: str) -> dict[str, str]:
    """Return the text of a file and of all headers of this package that it includes, directly or not, by path."""
    found: dict[str, str] = {}
    wanted = [path_of(file)]
    while wanted:
        path = wanted.pop()
        if str(path) in found:
            continue
        found[str(path)] = text = (SOURCES / path).read_text()
        for name in INCLUDE.findall(text):
            # in the compiler's order: the folder of the including file, then the top
            sibling = path.parent / name
            wanted.append(sibling if (SOURCES / sibling).is_file() else Path(name))
    return dict(sorted(found.items()))


def entries(file: str) -> list[str]:
    """Return the names of the kernels in ``file``."""
    return [match["name"] for match in ENTRY.finditer(text_of(file))]


def text_of(file: str) -> str:
    """Return the text of a file."""
    return (SOURCES / path_of(file)).read_text()
