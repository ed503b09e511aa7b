"""What there is to build: the kernels that a trainer launches, and the rungs of the ladder."""

from pathlib import Path

from .gemm import INPUTS, TILES, Shape
from .kernel import SOURCES, Kernel, entries, kernel

LAYOUTS = ((False, False), (False, True), (True, False))  # forward, dx, dw


def products() -> list[Kernel]:
    """Return all variants of the matrix products that training asks for."""
    found = []
    for tile in TILES:
        for inputs in INPUTS[tile.kernel]:
            for transpose_a, transpose_b in LAYOUTS:
                shape = Shape(1, 1, 1, transpose_a=transpose_a, transpose_b=transpose_b, inputs=inputs)
                found.append(tile.built_for(shape))
    return [*found, kernel("gemm_sum.cu", {"EPILOGUE": 0, "OUTPUT_BF16": 0})]


def others() -> list[Kernel]:
    """Return the kernels of all other files, as their defaults have them."""
    taken = {k.file for k in products()}
    files = [path.name for path in sorted(SOURCES.glob("*.cu")) if path.name not in taken]
    return [kernel(file, name=name) for file in files for name in entries(file)]


def ladder() -> list[Kernel]:
    """Return the rungs."""
    files = [f"ladder/{path.name}" for path in sorted((SOURCES / "ladder").glob("*.cu"))]
    return [kernel(file, name=name) for file in files for name in entries(file)]


def purpose(file: str) -> str:
    """Return the first line of a file: what it computes."""
    first = Path(SOURCES / file).read_text().split("\n", 1)[0]
    return first.removeprefix("//").strip()
