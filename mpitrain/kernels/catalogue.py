"""Lists of kernels to build: those that training launches, and the rungs of the ladder."""

from pathlib import Path

from .gemm import EPILOGUES, INPUTS, TILES, Shape
from .kernel import SOURCES, Kernel, entries, kernel

PRODUCTS = (  # transpose A, transpose B, epilogue
    (False, False, "none"),  # forward
    (False, False, "relu"),
    (False, False, "gelu"),
    (False, False, "gelu_tanh"),
    (False, True, "none"),  # dx
    (False, True, "relu_gradient"),
    (False, True, "gelu_gradient"),
    (False, True, "gelu_tanh_gradient"),
    (True, False, "none"),  # dw
)
ROWS_HELD = (  # rows of layernorm.cu and rmsnorm.cu in registers: warps and pieces (ops/cuda/normalize_rows.py)
    *({"ROW_WARPS": warps} for warps in (2, 3, 4, 6, 8, 16)),
    *({"ROW_WARPS": 16, "ROW_PIECES": pieces} for pieces in (2, 4)),
)
VARIANTS = (  # of other files, besides their defaults
    *(
        kernel(file, held, name=name)
        for file in ("layernorm.cu", "rmsnorm.cu")
        for name in entries(file)
        for held in ROWS_HELD
    ),
    kernel("softmax_cross_entropy.cu", {"ROW_WARPS": 16}, name="softmax_cross_entropy"),
    kernel("pool.cu", {"ARGMAX_BITS": 16}, name="max_pool"),
    *(kernel("softmax.cu", {"ROW_WARPS": 8}, name=name) for name in entries("softmax.cu")),
    *(
        kernel("softmax.cu", {**warps, "DROPS": 1}, name=name)
        for name in entries("softmax.cu")
        if name.startswith("attention")
        for warps in ({}, {"ROW_WARPS": 8})
    ),
)


def products() -> list[Kernel]:
    """Return all variants of the matrix products that training uses."""
    found = []
    for tile in TILES:
        for inputs in INPUTS[tile.kernel]:
            for transpose_a, transpose_b, epilogue in PRODUCTS:
                shape = Shape(1, 1, 1, 1, transpose_a, transpose_b, inputs, epilogue=epilogue)
                found.append(tile.built_for(shape))
    epilogues = sorted({EPILOGUES.index(epilogue) for _, _, epilogue in PRODUCTS})
    return [
        *dict.fromkeys(found),
        *(kernel("gemm_sum.cu", {"EPILOGUE": number, "OUTPUT_BF16": 0}) for number in epilogues),
    ]


def others() -> list[Kernel]:
    """Return the kernels of all other files with their default macros, and the variants that training uses."""
    taken = {k.file for k in products()}
    files = [path.name for path in sorted(SOURCES.glob("*.cu")) if path.name not in taken]
    return [*(kernel(file, name=name) for file in files for name in entries(file)), *VARIANTS]


def ladder() -> list[Kernel]:
    """Return the rungs."""
    files = [f"ladder/{path.name}" for path in sorted((SOURCES / "ladder").glob("*.cu"))]
    return [kernel(file, name=name) for file in files for name in entries(file)]


def purpose(file: str) -> str:
    """Return the first line of a file, its purpose."""
    first = Path(SOURCES / file).read_text().split("\n", 1)[0]
    return first.removeprefix("//").strip()
