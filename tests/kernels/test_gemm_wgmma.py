from dataclasses import replace

import pytest

from tests.kernels import cpu, gemm
from tests.kernels.products import Case, Variant

pytestmark = cpu.needs_gxx
TOLERANCE = {"fp32": 1e-6, "bf16": 2**-8}  # by type of the output; inputs are rounded before the oracle sees them

VARIANTS = [
    Variant("gemm_wgmma", 0, 0, "none", "bf16", "bf16"),
    Variant("gemm_wgmma", 0, 1, "gelu_tanh", "bf16", "bf16", cluster=2),
    Variant("gemm_wgmma", 1, 0, "none", "bf16", "fp32", cluster=2),
    Variant("gemm_wgmma", 1, 1, "relu_gradient", "bf16", "bf16"),
    Variant("gemm_wgmma", 0, 1, "relu", "tf32", "fp32"),
]

# Fewer tiles than blocks, and more; one step, fewer than stages, more; edges within a box, a wgmma, a tile.
CASES = [
    Case(1, 8, 8),
    Case(5, 3, 0, beta=0.5),
    Case(128, 256, 64),
    Case(129, 264, 72, beta=0.5, keep_pre=True),
    Case(300, 520, 136, pad=8, sum_columns=True),
    Case(70, 100, 700, alpha=-0.75),
    Case(140, 270, 500, part=192, batch=2, sum_columns=True),
    Case(260, 40, 200, batch=3, in_place=True, beta=1.0),
]


def aligned(case: Case, variant: Variant) -> Case:
    """Round what is contiguous in memory up, so that rows begin at multiples of 16 bytes."""
    m, n, k = (-(-size // 8) * 8 for size in (case.m, case.n, case.k))
    inner = {"k"} if not variant.transpose_a or variant.transpose_b else set()
    inner |= {"m"} if variant.transpose_a else set()
    inner |= {"n"} if not variant.transpose_b else set()
    sizes = {name: size for name, size in zip("mnk", (m, n, k)) if name in inner}
    return replace(case, pad=-(-case.pad // 8) * 8, **sizes)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_float64(variant, case):
    error = gemm.run(cpu.build("gemm_wgmma.cu", **variant.macros), variant, aligned(case, variant))
    assert error < TOLERANCE[variant.outputs]
