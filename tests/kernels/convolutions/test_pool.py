"""Pools by windows that kernels are built for, against float64 NumPy."""

import numpy as np
import pytest

from mpitrain.ops import OPS
from mpitrain.ops.window import Window
from tests.kernels import cpu
from tests.kernels.arrays import Elements, f32, i32, launch
from tests.kernels.convolutions import pools

pytestmark = [cpu.needs_gxx, pytest.mark.parametrize("bf16", [0, 1])]

SIZES = [(1, 1), (2, 3), (7, 8), (12, 5)]
WINDOWS = [
    Window((2, 2), (2, 2)),
    Window((2, 2), (2, 2), (1, 1)),
    Window((2, 2), (2, 2), ceil=True),
    Window((3, 3), (2, 2), (1, 1)),
    Window((3, 3), (2, 2), ceil=True),
    Window((3, 3), (1, 1), (1, 1)),
    Window((3, 3), (1, 1), (2, 2)),
]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_built_windows(bf16, window, size):
    """Odd sizes, lines that no window covers, windows that reach beyond an image, padding."""
    height, width = (n + 2 * p for n, p in zip(size, window.padding))
    if min(height, width) < window.kernel[0]:
        size = window.kernel  # the smallest image
    seed = 10 * size[0] + size[1]
    for relu in (0, 1):
        pools.largest(pools.Case(window, size, 1 + relu, 3 - relu, bf16, relu, seed))
    pools.mean(pools.Case(window, size, 2, 2, bf16, seed=seed))


def test_not_a_number_stays(bf16):
    """Wherever it lies under a window."""
    elements, window = Elements(bf16), Window((3, 3), (2, 2), (1, 1))
    case = pools.Case(window, (5, 5), 1, 1, bf16)
    for place in range(25):
        x, _, y, _, record = pools.arrays(case, elements)
        x.reshape(25, -1)[place] = 0x7FC0 if bf16 else np.nan
        launch(cpu.build("pool.cu", **case.macros), "max_pool", x, y, f32(0).astype(np.uint64), i32(0), record, grid=1)
        expected = np.empty(y.shape)
        OPS["max_pool"].numpy(elements.value(x), window, expected, False)
        np.testing.assert_array_equal(np.isnan(elements.value(y)), np.isnan(expected))


@pytest.mark.parametrize(("pixels", "channels"), [(1, 8), (49, 264), (100, 16), (7, 3), (300, 24), (35, 2056)])
def test_global_mean(bf16, pixels, channels):
    """Few channels, whose warps take several rows; more than a block has; more images than blocks."""
    elements = Elements(bf16, seed=pixels)
    x, x_value = elements.draw(5, pixels, channels)
    y, kernels = elements.room(5, channels), cpu.build("pool.cu", ELEMENT_BF16=bf16)
    grid = -(-channels // (256 if bf16 else 128)), 3
    launch(kernels, "global_mean", x, y, f32(1 / pixels), i32(5), i32(pixels), i32(channels), grid=grid, seed=pixels)
    elements.check(y, x_value.mean(axis=1), scale=4)
