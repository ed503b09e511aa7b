import pytest

from tests.kernels import cpu
from tests.kernels.products import cases as products
from tests.kernels.products import gemm
from tests.kernels.products.cases import Variant

pytestmark = cpu.needs_gxx
TOLERANCE = 1e-6  # of the sum of absolute products: a few roundings of fp32

VARIANTS = [Variant("gemm_simt", i // 2 % 2, i % 2, epilogue) for i, epilogue in enumerate(products.EPILOGUES)]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("case", [*products.EDGES, *(products.random_case(seed) for seed in range(8))], ids=str)
def test_against_float64(variant, case):
    assert gemm.run(cpu.build("gemm_simt.cu", **variant.macros), variant, case) < TOLERANCE
