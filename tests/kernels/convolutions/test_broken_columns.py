"""Columns of convolutions (im2col) broken on purpose: each mistake compiles, and must not survive the comparison."""

import numpy as np
import pytest

from mpitrain.ops.cuda.launch import window_record
from mpitrain.ops.window import Window
from tests.kernels import cpu
from tests.kernels.arrays import launch

# the first test waits for all builds
pytestmark = [cpu.needs_gxx, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("tap.quotient * window.dilation[0]", "tap.remainder * window.dilation[0]"),
        ("window.first_seen(1, at.remainder)", "window.first_seen(1, at.quotient)"),
        ("x + from + group * depth", "x + from"),
        ("      rest -= dilation[dim];", "      rest -= 1;"),
        ("rest >= 0 && by_stride[dim](rest).remainder > 0", "false"),
        ("dx + at.offset + group * depth", "dx + at.offset"),
    ],
)
def test_broken_columns_are_found(right, wrong):
    """Two groups, and taps of which only some meet a pixel."""
    window = Window((4, 3), (4, 2), (3, 1), (6, 3))
    x = np.random.default_rng(0).standard_normal((2, 17, 9, 16)).astype(np.float32)
    record, found = window_record(window, x, groups=2), []
    for edit in (None, lambda whole: whole.replace(right, wrong)):
        columns, dx = np.zeros((2, 2 * 2 * 3, 12 * 8), np.float32), np.zeros_like(x)
        kernels = cpu.build("conv2d_im2col.cu", edit)
        launch(kernels, "im2col", x, columns, record)
        launch(kernels, "col2im", 1 + np.arange(columns.size, dtype=np.float32), dx, record)
        found.append((columns, dx))
    assert any(not np.array_equal(*pair) for pair in zip(*found))
