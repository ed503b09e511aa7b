"""Pools broken on purpose: each of these mistakes compiles, and must not survive the comparison."""

import numpy as np
import pytest

from mpitrain.ops.window import Window
from tests.kernels import cpu
from tests.kernels.apart import survives
from tests.kernels.arrays import f32, i32, launch
from tests.kernels.convolutions import pools

pytestmark = [cpu.needs_gxx, pytest.mark.slow, pytest.mark.timeout(900)]

OVERLAPPING, DISJOINT, EACH = (
    Window((3, 3), (2, 2), (1, 1)),
    Window((2, 2), (2, 2), (1, 1)),
    Window((3, 3), (1, 1), (1, 1)),
)
MISTAKES = {
    "the last of equal pixels": (OVERLAPPING, "line.value.at[j] > value.at[j]", "line.value.at[j] >= value.at[j]"),
    "taps from the first line of a strip": (OVERLAPPING, "first[j] - base", "first[j]"),
    "a ReLU without a tap of its own": (EACH, "first[j] = base + to.taps", "first[j] = base"),
    "zeros around images": (OVERLAPPING, "return -infinity(); }", "return 0.f; }"),
    "lines above an image": (OVERLAPPING, "const bool is_line = unsigned(top + h) < unsigned(window.height);",
                             "const bool is_line = top + h < window.height;"),
    "columns behind an image": (EACH, "is_line && unsigned(left + kw) < unsigned(window.width)", "is_line"),
    "a line of the strip above": (EACH, "h > r * STRIDE && h < r * STRIDE + KERNEL", "h > r * STRIDE"),
    "the last line left out": (EACH, "if (row < window.out_height)", "if (row + 1 < window.out_height)"),
    "windows in another order": (OVERLAPPING, "(BEFORE - v) * STRIDE + i % STRIDE", "v * STRIDE + i % STRIDE"),
    "windows of one step alone": (OVERLAPPING, "BEFORE = (KERNEL - 1) / STRIDE", "BEFORE = 0"),
    "windows outside": (EACH, "is_line && unsigned(col - BEFORE + v) < unsigned(window.out_width)", "is_line"),
    "a step without the padding": (DISJOINT, "+ i % STRIDE - window.padding[1]", "+ i % STRIDE"),
    "steps of the padding left out": (DISJOINT, "(window.height - 1 + window.padding[0]) / STRIDE",
                                      "(window.height - 1) / STRIDE"),
    "the tap of a neighbor": (EACH, "<< place_in_word(j))", "<< place_in_word(j ^ 1))"),
    "a mean without its part": (EACH, "scaled(sum, to.part)", "scaled(sum, 1)"),
    "slopes without their part": (EACH, "slopes.part)", "1)"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found(mistake):
    window, right, wrong = MISTAKES[mistake]
    assert right in cpu.with_headers(cpu.text_of("pool.cu"))
    case = pools.Case(window, (6, 7), bf16=0, relu=int(window is EACH))

    def is_right():
        for run in (pools.largest, pools.mean):
            run(case, lambda text: text.replace(right, wrong))
        return True

    assert not survives(is_right)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("    }\n    __syncthreads();\n  }\n}", "    }\n  }\n}"),
        ("columns(pixels, channels, pixels, 0)", "columns(pixels, channels, pixels)"),
        ("sum.at[0][j] * part", "sum.at[0][j]"),
    ],
)
def test_broken_global_mean_is_found(right, wrong):
    broken = cpu.build("pool.cu", lambda text: text.replace(right, wrong))
    x = np.random.default_rng(0).standard_normal((6, 90, 128)).astype(np.float32)
    for seed in range(16):
        y = np.zeros((6, 128), np.float32)
        launch(broken, "global_mean", x, y, f32(1 / 90), i32(6), i32(90), i32(128), grid=(1, 2), seed=seed)
        if not np.allclose(y, x.mean(axis=1), atol=1e-5):
            return
    pytest.fail("not found")
