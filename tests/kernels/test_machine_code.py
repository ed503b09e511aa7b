"""Machine code of kernels that find their place in an array: no division of integers, and not many instructions.

A GPU divides integers by way of a reciprocal in floating point: some 20 instructions for 32 bits, and for 64 a
subroutine of 70 to 100. Where each element needs that, it takes longer than the element's way through memory.
"""

import functools
import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from mpitrain.errors import UserError
from mpitrain.kernels.build import compile_kernel
from mpitrain.kernels.kernel import entries, kernel
from mpitrain.kernels.nvrtc import CompileError
from tests.kernels import cpu, tools
from tests.kernels.products import Variant
from tests.kernels.test_compile import check_resources, instructions, nvcc

pytestmark = [
    pytest.mark.skipif(tools.NVCC is None, reason="there is no nvcc here to compile the kernels for a GPU"),
    pytest.mark.skipif(tools.NVDISASM is None, reason="there is no nvdisasm here"),
    pytest.mark.timeout(600),
]

# The most instructions of each kernel, about a tenth above what nvcc 13.0 and NVRTC 12.9 make for sm_80 and sm_90a.
LIMITS = {
    "batchnorm": {
        "batchnorm_apply": 235,
        "batchnorm_dx": 355,
        "batchnorm_evaluate": 515,
        "batchnorm_moments": 555,
        "batchnorm_sums": 465,
    },
    "cast_bf16": {"cast_rows": 130},
    "conv2d_im2col": {"im2col": 210, "col2im": 375},
    "dropout": {"dropout_mask": 615},
    "pool": {
        "max_pool": 305,
        "max_pool_dx": 395,
        "mean_pool": 240,
        "mean_pool_dx": 320,
        "global_mean": 350,
        "global_mean_dx": 205,
    },
    "reduce": {"column_sum": 220, "sum_rows": 220},
    "round_tf32": {"round_rows": 145, "round_columns": 385},
}
DIVISION = re.compile(r"I2F\.(\w+\.)*RP$|F2I\.")  # to floating point, rounded up, for the reciprocal; and back
FOLDER = tempfile.TemporaryDirectory()


@functools.cache
def machine_code(file: str, arch: str, compiler: str) -> dict[str, Counter]:
    """Return the instructions of each kernel of a file."""
    if compiler == "nvcc":
        cubin = nvcc(cpu.KERNELS / f"{file}.cu", arch, {})[0]
    else:
        cubin = Path(FOLDER.name) / f"{file}-{arch}.cubin"
        try:
            cubin.write_bytes(compile_kernel(kernel(f"{file}.cu", name=entries(f"{file}.cu")[0]), f"sm_{arch}")[0])
        except UserError as error:  # NVRTC comes with the test extra, on some systems only; nvcc has compiled the same
            if isinstance(error, CompileError):
                raise
            pytest.skip(str(error))
    done = subprocess.run([tools.NVDISASM, "-c", cubin], capture_output=True, text=True, check=True)
    parts = re.split(r"^\.text\.(\w+):$", done.stdout, flags=re.M)
    found = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]+)", re.M)
    return {
        name: Counter(full for full in found.findall(code) if full != "NOP")
        for name, code in zip(parts[1::2], parts[2::2], strict=True)
    }


@pytest.mark.parametrize("compiler", ["nvcc", "NVRTC"])
@pytest.mark.parametrize("arch", ["80", "90a"])
@pytest.mark.parametrize(("file", "name"), [(file, name) for file, limits in LIMITS.items() for name in limits])
def test_places_are_found_without_division(file, name, arch, compiler):
    """Neither inline nor by a subroutine, which nvdisasm shows behind the kernel that calls it."""
    found = machine_code(file, arch, compiler)[name]
    divisions = {full: count for full, count in found.items() if DIVISION.match(full)}
    assert not divisions
    assert found.total() <= LIMITS[file][name]


@pytest.mark.parametrize("name", [f"gemm_{kind}" for kind in ("simt", "mma")])
@pytest.mark.parametrize("arch", ["100a", "120a"])
def test_products_on_blackwell(name, arch):
    """They compile as they are: multiply-adds, and the tensor cores' instruction since Ampere."""
    variant = Variant(name, inputs="bf16" if name == "gemm_mma" else "fp32")
    cubin, said = nvcc(cpu.KERNELS / f"{name}.cu", arch, variant.macros)
    check_resources(said)
    found = instructions(cubin)
    assert any(full.startswith("HMMA.16816.F32.BF16") for full in found) == (name == "gemm_mma")
    assert any(full.startswith("FFMA") for full in found)
