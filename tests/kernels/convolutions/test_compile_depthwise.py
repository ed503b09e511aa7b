"""The machine code of depthwise convolutions: whole loads, no division, and instructions for each element of y."""

import pytest

from tests.kernels import tools
from tests.kernels.compiled import GROWTH, check_resources
from tests.kernels.machine_code import build

pytestmark = pytest.mark.skipif(tools.NVCC is None, reason="there is no nvcc here to compile the kernels for a GPU")

# Filter, stride, whether bf16: instructions of a thread for a strip, which is 4 lines of 4 channels.
STRIPS = [((3, 1, 0), 360), ((3, 1, 1), 401), ((3, 2, 1), 530), ((5, 1, 0), 825), ((5, 2, 1), 1250)]
ARCHS = "80", "90a"


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(("built_for", "instructions"), STRIPS)
def test_strips(built_for, instructions, arch):
    size, stride, bf16 = built_for
    built = build("conv2d_depthwise.cu", arch, {"KERNEL": size, "STRIDE": stride, "FLIP": 0, "ELEMENT_BF16": bf16})
    check_resources(built.said)
    assert built.registers <= (128 if size == 3 else 255)
    turn = built.code.turn("FFMA", "LDG")
    kind = "LDG.E.64" if bf16 else "LDG.E.128"
    assert turn[kind] == (3 * stride + size) * size, "each pixel under the strip once"
    assert sum(turn.values()) <= GROWTH * instructions, turn
    assert not built.code.count("MUFU", "I2F"), "a division"


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("bf16", [0, 1])
@pytest.mark.parametrize(("size", "registers"), [(0, 176), (3, 128), (5, 255)])
def test_gradients(arch, bf16, size, registers):
    """A multiprocessor has two blocks of 3 x 3, and one of any other size.

    tests/kernels/memory_bound_cases.py has the instructions of a turn of the main loop.
    """
    built = build("conv2d_depthwise_gradients.cu", arch, {"ELEMENT_BF16": bf16, "KERNEL": size})
    check_resources(built.said)
    assert built.registers <= registers
    assert not built.code.count("MUFU", "I2F"), "a division"
