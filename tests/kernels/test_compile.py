"""All kernels compiled for the GPUs that they are meant for: no spills, no stack, shared memory within limits."""

import re

import pytest

from mpitrain.kernels.kernel import kernel, sources, text_of
from tests.kernels import cpu, tools
from tests.kernels.compiled import check_resources
from tests.kernels.machine_code import build

pytestmark = pytest.mark.skipif(tools.NVCC is None, reason="there is no nvcc here to compile the kernels for a GPU")

ELSEWHERE = {f"gemm_{kind}.cu" for kind in ("simt", "mma", "wgmma", "sum")}
NAMES = [name.removesuffix(".cu") for name in sources() if name not in {*ELSEWHERE, *sources("ladder")}]


def archs(name: str) -> list[str]:
    """Return the oldest GPU that a file is for, and those that most have."""
    what = kernel(f"{name}.cu")
    return [f"{what.least_arch}a"] if what.exact_arch else list(dict.fromkeys((str(what.least_arch), "80", "90a")))


OTHERS = [(name, arch) for name in NAMES for arch in archs(name)]


@pytest.mark.parametrize(("name", "arch"), OTHERS)
def test_others(name, arch):
    """fp32 on the oldest GPU that it is for, and bf16 on the newest."""
    has_elements = "Element" in text_of(f"{name}.cu")
    check_resources(build(f"{name}.cu", arch, {"ELEMENT_BF16": int(arch == "90a")} if has_elements else {}).said)


@pytest.mark.parametrize(("arch", "threads"), [("75", 1024), ("90a", 2048)])
@pytest.mark.parametrize("warps", [1, 8])
def test_softmax_fills_a_multiprocessor(warps, arch, threads):
    """As many threads as it can hold share its 65,536 registers; scores are moved 16 bytes at a time."""
    built = build("softmax.cu", arch, {"ROW_WARPS": warps})
    check_resources(built.said)
    assert built.registers <= 65536 // threads
    assert {"LDG.E.128", "STG.E.128"} <= {name.removesuffix(".SYS") for name in built.code.opcodes}


@pytest.mark.parametrize("arch", ["75", "90a"])
def test_masks_of_attention_stay_in_registers(arch):
    check_resources(build("softmax.cu", arch, {"DROPS": 1, "ELEMENT_BF16": int(arch == "90a")}).said)


def test_launch_bounds_say_the_registers_at_entry():
    """Without the least number of blocks, some versions of ptxas ignore setmaxnreg (C7508)."""
    found = []
    for path in sorted(cpu.KERNELS.rglob("*.cu")):
        text = path.read_text()
        if "registers_take<" in cpu.with_headers(text):
            found += re.findall(r"__launch_bounds__\(([^)]*)\)", text)
    assert len(found) >= 12
    assert all(bounds.endswith(", 1") for bounds in found), found
