import pytest

from tests.kernels import cpu
from tests.kernels.products import cases as products
from tests.kernels.products import gemm
from tests.kernels.products.cases import Variant

pytestmark = cpu.needs_gxx
TOLERANCE = {"fp32": 1e-6, "bf16": 2**-8}  # by type of the output; inputs are rounded before the oracle sees them

VARIANTS = [
    Variant("gemm_mma", 0, 0, "none", "tf32"),
    Variant("gemm_mma", 0, 1, "relu_gradient", "tf32"),
    Variant("gemm_mma", 1, 0, "gelu_tanh", "tf32"),
    Variant("gemm_mma", 0, 0, "relu", "bf16", "bf16"),
    Variant("gemm_mma", 0, 1, "gelu_tanh", "bf16", "bf16"),
    Variant("gemm_mma", 1, 0, "none", "bf16", "fp32"),
    Variant("gemm_mma", 1, 1, "gelu_gradient", "bf16", "bf16"),
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("case", [*products.EDGES, *(products.random_case(seed) for seed in range(5))], ids=str)
def test_against_float64(variant, case):
    assert gemm.run(cpu.build("gemm_mma.cu", **variant.macros), variant, case) < TOLERANCE[variant.outputs]
