"""Kernels compiled for the GPUs they are meant for: registers suffice, shared memory is within limits."""

import re
import shutil
import subprocess

import pytest

from tests.kernels import cpu, ladder
from tests.kernels.gemm import EPILOGUES, Variant

NVCC = shutil.which("nvcc")
pytestmark = pytest.mark.skipif(NVCC is None, reason="there is no nvcc here to compile the kernels for a GPU")

SIMT = [
    Variant("gemm_simt"),
    Variant("gemm_simt", 0, 1, "gelu_tanh"),
    Variant("gemm_simt", 1, 0, "relu"),
    Variant("gemm_simt", 1, 1, "none"),
]
MMA = [
    Variant("gemm_mma", 0, 0, "gelu_tanh", "tf32"),
    Variant("gemm_mma", 1, 0, "none", "tf32"),
    Variant("gemm_mma", 0, 1, "relu", "bf16", "bf16"),
    Variant("gemm_mma", 1, 1, "none", "bf16"),
]
CASES = [(variant, arch) for variant, arch in zip(SIMT, ["75", "80", "90a", "75"])]
CASES += [(variant, arch) for variant, arch in zip(MMA, ["80", "90a", "80", "90a"])]
CASES += [(MMA[0], "90a")]  # the one that needs most registers


def compile_kernel(source, arch, macros, folder):
    """Compile without warnings; return the cubin and the number of bytes of stack, spills and static shared memory."""
    cubin = folder / "kernel.cubin"
    command = [NVCC, "-std=c++17", f"-arch=sm_{arch}", "-cubin", "-Xptxas", "-v", f"-I{cpu.KERNELS}"]
    command += [f"-D{name}={value}" for name, value in macros.items()]
    done = subprocess.run([*command, source, "-o", cubin], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr, done.stderr
    stack, stores, loads = map(
        int,
        re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", done.stderr).groups(),
    )
    shared = re.search(r"(\d+) bytes smem", done.stderr)
    return stack + stores + loads, int(shared[1]) if shared else 0


@pytest.mark.parametrize(("variant", "arch"), CASES, ids=str)
def test_products(variant, arch, tmp_path):
    spilled, shared = compile_kernel(cpu.KERNELS / f"{variant.kernel}.cu", arch, variant.macros, tmp_path)
    assert spilled == 0
    assert shared <= 48 * 1024


@pytest.mark.parametrize("arch", ["75", "90a"])
def test_sum_of_parts(arch, tmp_path):
    macros = {"EPILOGUE": EPILOGUES.index("gelu_gradient"), "OUTPUT_BF16": int(arch != "75")}
    spilled, _ = compile_kernel(cpu.KERNELS / "gemm_sum.cu", arch, macros, tmp_path)
    assert spilled == 0


@pytest.mark.parametrize("name", ladder.RUNGS)
def test_rungs(name, tmp_path):
    spilled, shared = compile_kernel(cpu.KERNELS / "ladder" / f"{name}.cu", "75", {}, tmp_path)
    assert spilled == 0
    assert shared <= 48 * 1024
