"""Kernels compiled for the GPUs they are meant for: registers suffice, shared memory is within limits, and the machine
code holds the instructions that the kernel is about."""

import re
import subprocess
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mpitrain.errors import UserError
from mpitrain.kernels.build import compile_kernel
from mpitrain.kernels.kernel import kernel
from mpitrain.kernels.nvrtc import CompileError
from tests.kernels import cpu, ladder, tools
from tests.kernels.products import EPILOGUES, Variant

pytestmark = [
    pytest.mark.skipif(tools.NVCC is None, reason="there is no nvcc here to compile the kernels for a GPU"),
    pytest.mark.timeout(900),  # the first test waits for all that is compiled
]

# What the machine code must hold: multiply-adds, tensor cores (and fed by ldmatrix and cp.async), wgmma (and by TMA).
FFMA, FFMA_75 = {"FFMA", "LDS.128", "LDG.E.128"}, {"FFMA", "LDS.U.128", "LDG.E.128"}
TF32 = {"HMMA.1688.F32.TF32", "LDSM.16.M88.4", "LDGSTS.E.BYPASS.128"}
BF16 = {"HMMA.16816.F32.BF16", "LDSM.16.M88.4", "LDGSTS.E.BYPASS.128"}
WGMMA = {"HGMMA.64x256x16.F32.BF16", "UTMALDG.3D", "SYNCS.PHASECHK.TRANS64.TRYWAIT", "USETMAXREG.TRY_ALLOC.CTAPOOL"}
WGMMA_TF32 = WGMMA - {"HGMMA.64x256x16.F32.BF16"} | {"HGMMA.64x256x8.F32.TF32"}
MULTICAST = {"UTMALDG.3D.MULTICAST"}

PRODUCTS = [
    (Variant("gemm_simt"), "75", FFMA_75),
    (Variant("gemm_simt", 0, 1, "gelu_tanh"), "80", FFMA),
    (Variant("gemm_simt", 1, 0, "relu_gradient"), "90a", FFMA),
    (Variant("gemm_simt", 1, 1, "gelu"), "75", FFMA_75),
    (Variant("gemm_mma", 0, 0, "gelu_tanh", "tf32"), "80", TF32),
    (Variant("gemm_mma", 0, 0, "gelu_tanh", "tf32"), "90a", TF32),  # the one that needs most registers
    (Variant("gemm_mma", 1, 0, "none", "tf32"), "90a", TF32 - {"LDSM.16.M88.4"} | {"LDS"}),
    (Variant("gemm_mma", 0, 1, "relu", "bf16", "bf16"), "80", BF16),
    (Variant("gemm_mma", 1, 1, "gelu_gradient", "bf16"), "90a", BF16 - {"LDSM.16.M88.4"} | {"LDSM.16.MT88.4"}),
    (Variant("gemm_wgmma", 0, 0, "none", "bf16", "bf16"), "90a", WGMMA),
    (Variant("gemm_wgmma", 0, 1, "gelu", "bf16", "bf16", cluster=2), "90a", WGMMA | MULTICAST),
    (Variant("gemm_wgmma", 1, 0, "none", "bf16", "fp32", cluster=2), "90a", WGMMA | MULTICAST),
    (Variant("gemm_wgmma", 1, 1, "gelu_tanh_gradient", "bf16", "bf16"), "90a", WGMMA),
    (Variant("gemm_wgmma", 0, 1, "relu", "tf32"), "90a", WGMMA_TF32),
]


NAMES = sorted({path.stem for path in cpu.KERNELS.glob("*.cu")} - {"gemm_simt", "gemm_mma", "gemm_wgmma", "gemm_sum"})
OTHERS = [(name, arch) for name in NAMES for arch in dict.fromkeys((str(kernel(f"{name}.cu").least_arch), "80", "90a"))]

FOLDER = tempfile.TemporaryDirectory()
DONE: dict[tuple, tuple[Path, str]] = {}


def nvcc(source: Path, arch: str, macros: dict[str, int]) -> tuple[Path, str]:
    """Compile to a cubin; return it and what ptxas said."""
    key = source, arch, *sorted(macros.items())
    if key not in DONE:
        cubin = Path(FOLDER.name) / f"{abs(hash(key))}.cubin"
        command = [tools.NVCC, "-std=c++17", f"-gencode=arch=compute_{arch},code=sm_{arch}", "-cubin", "-Xptxas", "-v"]
        command += [f"-I{cpu.KERNELS}", *(f"-D{name}={value}" for name, value in macros.items())]
        done = subprocess.run([*command, source, "-o", cubin], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        DONE[key] = cubin, done.stderr
    return DONE[key]


@pytest.fixture(scope="module", autouse=True)
def compiled_two_at_a_time():
    jobs = [(cpu.KERNELS / f"{v.kernel}.cu", arch, v.macros) for v, arch, _ in PRODUCTS]
    jobs += [(cpu.KERNELS / f"{name}.cu", arch, {"ELEMENT_BF16": int(arch == "90a")}) for name, arch in OTHERS]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda job: nvcc(*job), jobs))


def check_resources(said: str) -> None:
    """No warnings, nor remarks on wgmma (numbers C75xx: serialised, or waited for); no stack, no spills."""
    assert "warning" not in said, said
    assert not re.search(r"\(C75\d\d\)", said), said
    frames = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", said)
    assert frames
    assert set(frames) == {("0", "0", "0")}, said
    assert all(int(shared) <= 48 * 1024 for shared in re.findall(r"(\d+) bytes smem", said))


def instructions(cubin: Path) -> Counter:
    done = subprocess.run([tools.NVDISASM, "-c", cubin], capture_output=True, text=True, check=True)
    return Counter(re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]+)", done.stdout, re.M))


@pytest.mark.parametrize(
    ("variant", "arch", "wanted"), PRODUCTS, ids=[f"{p[0].kernel}-{p[0]}-{p[1]}" for p in PRODUCTS]
)
def test_products(variant, arch, wanted):
    cubin, said = nvcc(cpu.KERNELS / f"{variant.kernel}.cu", arch, variant.macros)
    check_resources(said)
    if tools.NVDISASM is None:
        return
    found = instructions(cubin)
    missing = {name for name in wanted if not any(full.startswith(name) for full in found)}
    assert not missing, found
    assert not any(full.startswith(("LDL", "STL")) for full in found), "local memory"
    if variant.kernel == "gemm_wgmma":  # one step of the main loop, and nothing multiplied elsewhere
        assert sum(count for full, count in found.items() if full.startswith("HGMMA")) == 4
        assert not any(full.startswith("HMMA") for full in found)


FENCES = ("MEMBAR.ALL.GPU", "CCTL.IVALL")  # wait for all stores; drop all of L1


# nvdisasm comes with the test extra on Linux; without it the machine code cannot be read at all
@pytest.mark.skipif(tools.NVDISASM is None, reason="there is no nvdisasm here")
@pytest.mark.parametrize("compiler", ["nvcc", "NVRTC"])
@pytest.mark.parametrize("name", ["gemm_wgmma", "gemm_wgmma of a cluster", "gemm_10_ring", "gemm_11_producer"])
def test_only_clusters_that_meet_have_fences(tmp_path, name, compiler):
    """None in the main loop, where each would wait for the stores of the tile before."""
    file = "gemm_wgmma.cu" if "wgmma" in name else f"ladder/{name}.cu"
    macros = Variant("gemm_wgmma", inputs="bf16", cluster=1 + ("cluster" in name)).macros if "wgmma" in name else {}
    cubin = tmp_path / "built.cubin"
    if compiler == "nvcc":
        cubin = nvcc(cpu.KERNELS / file, "90a", macros)[0]
    else:
        try:
            cubin.write_bytes(compile_kernel(kernel(file, macros), "sm_90a")[0])
        except UserError as error:  # NVRTC comes with the test extra, on some systems only; nvcc has compiled the same
            if isinstance(error, CompileError):
                raise
            pytest.skip(str(error))
    found = instructions(cubin)
    assert any(full.startswith("HGMMA") for full in found)
    meetings = found["UCGABAR_WAIT"]
    assert meetings == (2 if "cluster" in name else 0)
    assert [found[fence] for fence in FENCES] == [meetings, meetings]


def test_a_remark_on_wgmma_is_noticed(tmp_path):
    """Sums that are read before the wait: the compiler puts a wait in, and says so."""
    text = (cpu.KERNELS / "gemm_wgmma.cu").read_text()
    broken = text.replace("  wgmma_wait<0>();\n", "")
    assert broken != text
    (tmp_path / "broken.cu").write_text(broken)
    _, said = nvcc(tmp_path / "broken.cu", "90a", {"TILE_N": 128, "STAGES": 4})
    with pytest.raises(AssertionError, match="C75"):
        check_resources(said)


@pytest.mark.parametrize("arch", ["75", "90a"])
def test_sum_of_parts(arch):
    macros = {"EPILOGUE": EPILOGUES.index("gelu_gradient"), "OUTPUT_BF16": int(arch != "75")}
    check_resources(nvcc(cpu.KERNELS / "gemm_sum.cu", arch, macros)[1])


@pytest.mark.parametrize(("name", "arch"), OTHERS)
def test_others(name, arch):
    """fp32 on the oldest GPU that it is for, and bf16 on the newest."""
    check_resources(nvcc(cpu.KERNELS / f"{name}.cu", arch, {"ELEMENT_BF16": int(arch == "90a")})[1])


@pytest.mark.parametrize("arch", ["75", "90a"])
@pytest.mark.parametrize("warps", [1, 8])
def test_softmax_fills_a_multiprocessor(warps, arch):
    """All its threads at once, which have 32 registers each then; scores are moved 16 bytes at a time."""
    cubin, said = nvcc(cpu.KERNELS / "softmax.cu", arch, {"ROW_WARPS": warps})
    check_resources(said)
    registers = [int(number) for number in re.findall(r"Used (\d+) registers", said)]
    assert len(registers) == 4
    assert max(registers) <= 32
    if tools.NVDISASM is not None:
        found = instructions(cubin)
        assert {"LDG.E.128", "STG.E.128"} <= {name.removesuffix(".SYS") for name in found}


@pytest.mark.parametrize("name", ladder.RUNGS)
def test_rungs(name):
    check_resources(nvcc(cpu.KERNELS / "ladder" / f"{name}.cu", ladder.ARCH.get(name, "75"), {})[1])
