"""Machine code of kernels that find their place in an array: no division of integers, and not many instructions.

A GPU divides integers by way of a reciprocal in floating point: some 20 instructions for 32 bits, and for 64 a
subroutine of 70 to 100. Where each element needs that, it takes longer than the element's way through memory.
"""

import re

import pytest

from tests.kernels import memory_bound, tools
from tests.kernels.compiled import check_resources
from tests.kernels.machine_code import build
from tests.kernels.products.cases import Variant

pytestmark = [
    pytest.mark.skipif(tools.NVCC is None, reason="there is no nvcc here to compile the kernels for a GPU"),
    pytest.mark.skipif(tools.NVDISASM is None, reason="there is no nvdisasm here"),
    pytest.mark.timeout(600),
]

# The most instructions of each kernel, about a tenth above what nvcc 13.0 and NVRTC 12.9 make for sm_80 and sm_90a.
LIMITS = {
    "batchnorm": {
        "batchnorm_apply": 360,
        "batchnorm_apply_residual": 400,
        "batchnorm_dx": 600,
        "batchnorm_evaluate": 655,
        "batchnorm_evaluate_residual": 700,
        "batchnorm_sums": 705,
        "batchnorm_sums_residual": 600,
    },
    "batchnorm_moments": {"batchnorm_moments": 760},
    "cast_bf16": {"cast_rows": 130},
    "compress_bf16": {"encode_bf16": 250, "decode_bf16": 215},
    "compress_fp16": {"encode_fp16": 710, "decode_fp16": 300},
    "compress_int8": {"decode_int8": 405},
    "compress_sign": {"decode_sign": 255},
    "conv2d_im2col": {"im2col": 210, "col2im": 375},
    "dropout": {"dropout_mask": 690},
    "largest_places": {"largest_digits": 465, "largest_count": 530, "largest_write": 405},
    "pool": {
        "max_pool": 305,
        "max_pool_dx": 395,
        "mean_pool": 240,
        "mean_pool_dx": 320,
        "global_mean": 350,
        "global_mean_dx": 205,
    },
    "reduce": {"column_sum": 295, "mask_and_sum": 460, "sum_parts": 155, "sum_rows": 295},
    "round_tf32": {"round_rows": 145, "round_columns": 385},
    "sum_over_ranks": {"sum_over_ranks": 310},
    "thin_product": {"thin_product": 355},
}
COMPILERS = [("80", "nvcc"), ("90a", "NVRTC")]
DIVISION = re.compile(r"I2F\.(\w+\.)*RP$|F2I\.")  # to floating point, rounded up, for the reciprocal; and back


@pytest.mark.parametrize(("arch", "compiler"), COMPILERS)
@pytest.mark.parametrize(("file", "name"), [(file, name) for file, limits in LIMITS.items() for name in limits])
def test_places_are_found_without_division(file, name, arch, compiler):
    """Neither inline nor by a subroutine, which nvdisasm shows behind the kernel that calls it."""
    found = build(f"{file}.cu", arch, {}, compiler).kernels[name].counts
    divisions = {full: count for full, count in found.items() if DIVISION.match(full)}
    assert not divisions
    assert found.total() - found["NOP"] <= LIMITS[file][name]


@pytest.mark.parametrize(("arch", "compiler"), COMPILERS)
@pytest.mark.parametrize("case", memory_bound.CASES, ids=lambda case: f"{case.name}-{case.note or 'bf16'}")
def test_memory_bounds_what_it_should(case, arch, compiler):
    """Instructions take less time than bytes, which are the least there are, and enough loads are under way."""
    check_resources(build(f"{case.file}.cu", arch, case.macros, compiler).said)
    found = memory_bound.figures(case, arch, compiler)
    assert found.instructions <= case.most * (1.15 if arch == "80" else 1)
    assert found.issue <= (1 if case.bound == "memory" else 1.35)
    assert case.moved <= case.least / 0.9
    assert not found.in_flight or found.in_flight >= memory_bound.IN_FLIGHT


@pytest.mark.parametrize("name", [f"gemm_{kind}" for kind in ("simt", "mma")])
@pytest.mark.parametrize("arch", ["100a", "120a"])
def test_products_on_blackwell(name, arch):
    """They compile as they are: multiply-adds, and the tensor cores' instruction since Ampere."""
    variant = Variant(name, inputs="bf16" if name == "gemm_mma" else "fp32")
    built = build(f"{name}.cu", arch, variant.macros)
    check_resources(built.said)
    assert (built.code.count("HMMA.16816.F32.BF16") > 0) == (name == "gemm_mma")
    assert built.code.count("FFMA") > 0


@pytest.mark.parametrize(("arch", "compiler"), [("80", "nvcc"), ("90a", "NVRTC")])
@pytest.mark.parametrize("bf16", [0, 1])
def test_maps_move_16_bytes_at_once(bf16, arch, compiler):
    """4 elements of fp32 or 8 of bf16; single ones are for the end of an array, or one that is not aligned."""
    found = build("elementwise.cu", arch, {"ELEMENT_BF16": bf16}, compiler).kernels["add"].counts
    wide = {name: count for name, count in found.items() if name.startswith(("LDG", "STG")) and ".128" in name}
    assert sum(count for name, count in wide.items() if name.startswith("LDG")) == 2
    assert sum(count for name, count in wide.items() if name.startswith("STG")) == 1
