from dataclasses import replace

import pytest

from tests.kernels import cpu
from tests.kernels.products import gemm
from tests.kernels.products.cases import Case, Variant

pytestmark = cpu.needs_gxx
TOLERANCE = {"fp32": 1e-6, "bf16": 2**-8}  # by type of the output; inputs are rounded before the oracle sees them


def tile(m: int, n: int, stages: int, buffers: int, ping_pong: int) -> tuple[tuple[str, int], ...]:
    return ("TILE_M", m), ("TILE_N", n), ("STAGES", stages), ("BUFFERS", buffers), ("PING_PONG", ping_pong)


SQUARE, FLAT, THIN = tile(128, 128, 5, 4, 1), tile(64, 256, 4, 4, 1), tile(128, 64, 6, 4, 1)
VARIANTS = [
    Variant("gemm_wgmma", 0, 0, "none", "bf16", "bf16"),
    Variant("gemm_wgmma", 0, 1, "gelu_tanh", "bf16", "bf16", cluster=2),
    Variant("gemm_wgmma", 1, 0, "none", "bf16", "fp32", cluster=2),
    Variant("gemm_wgmma", 1, 1, "relu_gradient", "bf16", "bf16"),
    Variant("gemm_wgmma", 0, 1, "relu", "tf32", "fp32"),
    Variant("gemm_wgmma", 0, 0, "gelu", "bf16", "bf16", tile=SQUARE),
    Variant("gemm_wgmma", 0, 1, "gelu_gradient", "bf16", "bf16", cluster=2, tile=SQUARE),
    Variant("gemm_wgmma", 1, 0, "gelu_tanh_gradient", "bf16", "fp32", tile=FLAT),
    Variant("gemm_wgmma", 0, 1, "none", "bf16", "fp32", cluster=2, tile=THIN),
    Variant("gemm_wgmma", 0, 0, "relu", "bf16", "bf16", cluster=2, tile=tile(128, 192, 4, 3, 0)),
    Variant("gemm_wgmma", 1, 1, "gelu_tanh_gradient", "bf16", "bf16", tile=tile(128, 160, 4, 3, 0)),
    Variant("gemm_wgmma", 1, 0, "gelu_tanh", "bf16", "bf16", tile=tile(128, 96, 5, 4, 1)),
]

# Fewer tiles than blocks, and more; one step, fewer than stages, more; edges within a box, a wgmma, a tile.
CASES = [
    Case(1, 8, 8),
    Case(5, 3, 0, beta=0.5),
    Case(128, 256, 64),
    Case(512, 768, 320, pad=8, bias=True, sum_columns=True, keep_pre=True),
    Case(384, 320, 192, batch=2, beta=0.5, in_place=True, alpha=0.5, bias=False),
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
