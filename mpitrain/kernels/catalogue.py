"""Lists of kernels to build: those that training launches, and the rungs of the ladder."""

import re
from dataclasses import replace
from itertools import product

from . import attention, attention_wgmma, convolution_lines, convolution_plan
from .convolution import KINDS, Convolution
from .gemm import EPILOGUES, INPUTS, TILES, Shape
from .kernel import Kernel, entries, kernel, sources, text_of

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
CONVOLUTIONS = {  # epilogue, whether moments are written
    "forward": (("none", False), ("none", True), ("relu", False)),
    "dx": (("none", False), ("relu_gradient", False)),
    "dw": (("none", False),),
}
ROWS_HELD = (  # rows of layernorm.cu and rmsnorm.cu in registers: warps and pieces (ops/cuda/normalize_rows.py)
    *({"ROW_WARPS": warps} for warps in (2, 3, 4, 6, 8, 16)),
    *({"ROW_WARPS": 16, "ROW_PIECES": pieces} for pieces in (2, 4, 0)),
)
VARIANTS = (  # of other files, besides their defaults
    *(
        kernel(file, held, name=name)
        for file in ("layernorm.cu", "rmsnorm.cu")
        for name in entries(file)
        for held in ROWS_HELD
    ),
    *(
        kernel(f"{norm}.cu", {"ROW_WARPS": 16, "ROW_PIECES": 0, "ROW_SUMS": 0}, name=f"{norm}_backward")
        for norm in ("layernorm", "rmsnorm")
    ),
    kernel("softmax_cross_entropy.cu", {"ROW_WARPS": 16}, name="softmax_cross_entropy"),
    kernel("pool.cu", {"ARGMAX_BITS": 16}, name="max_pool"),
    *(
        kernel("pool.cu", {"KERNEL": size, "STRIDE": stride}, name=name)  # ops/cuda/pool.py
        for size, stride in ((2, 2), (3, 2), (3, 1))
        for name in ("max_pool", "max_pool_dx", "mean_pool", "mean_pool_dx")
    ),
    *(kernel("softmax.cu", {"ROW_WARPS": 8}, name=name) for name in entries("softmax.cu")),
    *(
        kernel("softmax.cu", {**warps, "DROPS": 1}, name=name)
        for name in entries("softmax.cu")
        if name.startswith("attention")
        for warps in ({}, {"ROW_WARPS": 8})
    ),
    *(
        kernel("conv2d_depthwise.cu", {"KERNEL": size, "STRIDE": stride, "FLIP": flip})
        for size in (3, 5)
        for stride, flip in ((1, 0), (1, 1), (2, 0))
    ),
    *(kernel("conv2d_depthwise_gradients.cu", {"KERNEL": size}, name="conv2d_depthwise_dw") for size in (3, 5)),
)
TABLES = (kernel("embedding.cu", {"ELEMENT_BF16": 1, "TABLE_BF16": 1}, name="embedding_forward"),)


def products() -> list[Kernel]:
    """Return all variants of the matrix products that training uses."""
    found = []
    for tile in TILES:
        for inputs in INPUTS[tile.kernel]:
            for transpose_a, transpose_b, epilogue in PRODUCTS:
                for outputs in _outputs(inputs, epilogue):
                    shape = Shape(1, 1, 1, 1, transpose_a, transpose_b, inputs, outputs, epilogue)
                    found.append(tile.built_for(shape))
    epilogues = sorted({EPILOGUES.index(epilogue) for _, _, epilogue in PRODUCTS})
    return [
        *dict.fromkeys(found),
        *convolutions(),
        *(
            kernel(file, {"EPILOGUE": number, "OUTPUT_BF16": outputs})
            for file in ("gemm_sum.cu", "gemm_sum_stream.cu")
            for number in epilogues
            for outputs in (0, 1)
        ),
        *(kernel("gemm_sum.cu", {"EPILOGUE": 0, "OUTPUT_BF16": outputs, "COLUMN_MOMENTS": 1}) for outputs in (0, 1)),
    ]


def _outputs(inputs: str, epilogue: str) -> tuple[str, ...]:
    """Return the types of results: those of bf16 are activations, or, like dw, go to where sums are fp32."""
    if inputs != "bf16":
        return ("fp32",)
    return ("bf16",) if epilogue != "none" else ("fp32", "bf16")


def convolutions() -> list[Kernel]:
    """Return all variants of the convolutions that training uses: channels in whole chunks of 16 bytes, and not."""
    found = []
    by_taps = [tile for tile in convolution_plan.TILES if tile not in convolution_lines.TILES]
    for tile, kind in product(by_taps, KINDS):
        for inputs in INPUTS[tile.kernel]:
            outputs = "bf16" if inputs == "bf16" and kind != "dw" else "fp32"
            conv = Convolution(kind, 1, (1, 1), 8, 8, (1, 1), inputs=inputs, outputs=outputs)
            strided = replace(conv, stride=(2, 2), size=(2, 2))
            found += [
                convolution_plan.built_for(tile, replace(each, epilogue=epilogue), odd, moments)
                for each, odd, (epilogue, moments) in product((conv, strided), (False, True), CONVOLUTIONS[kind])
            ]
    return [*dict.fromkeys(found), *convolution_lines.common_kernels()]


def others() -> list[Kernel]:
    """Return the kernels of all other files with their default macros, and the variants that training uses."""
    fused = [*attention.all_kernels(), *attention_wgmma.all_kernels()]
    taken = {k.file for k in (*products(), *fused)}
    files = [file for file in sources() if file not in {*taken, *sources("ladder")}]
    found = [*(kernel(file, name=name) for file in files for name in entries(file)), *VARIANTS]
    return [*found, *(_in_bf16(each) for each in found if _has_elements(each.file)), *TABLES, *fused]


def _has_elements(file: str) -> bool:
    """Return whether a file computes with activations, which are fp32 or bf16."""
    return re.search(r"\bElement\b", text_of(file)) is not None


def _in_bf16(built: Kernel) -> Kernel:
    return kernel(built.file, {**dict(built.macros), "ELEMENT_BF16": 1}, name=built.name)


def ladder() -> list[Kernel]:
    """Return the rungs."""
    return [kernel(file, name=name) for file in sources("ladder") for name in entries(file)]


def purpose(file: str) -> str:
    """Return the first line of a file, its purpose."""
    return text_of(file).partition("\n")[0].removeprefix("//").strip()
