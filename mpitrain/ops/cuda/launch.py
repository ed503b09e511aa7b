"""Launches of kernels that have one thread, or one warp, for each of many things."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...kernels.kernel import Kernel
from ...kernels.launch import launch
from ...kernels.plan import Launch, ceil_div
from ..window import Window

THREADS = 256
BLOCKS_AN_SM = 8
WINDOW = np.dtype((np.void, 14 * 4))


def run(device: Any, kernel: Kernel, num_threads: int, arguments: Sequence[Any]) -> None:
    """Launch at least ``num_threads`` in blocks of 256; nothing is launched for none.

    Python's ints are passed as 32 bits, floats as fp32; what is 64 bits wide comes as a 0-d NumPy array;
    None is the null pointer.
    """
    if num_threads:
        plan = Launch((ceil_div(num_threads, THREADS), 1, 1), (THREADS, 1, 1))
        launch(device, kernel, plan, values(arguments))


def loop(device: Any, kernel: Kernel, num_elements: int, arguments: Sequence[Any]) -> None:
    """Launch a kernel whose threads go over all elements, four at a time: some blocks an SM at most."""
    if num_elements:
        blocks = min(ceil_div(num_elements, 4 * THREADS), BLOCKS_AN_SM * device.num_processors)
        launch(device, kernel, Launch((blocks, 1, 1), (THREADS, 1, 1)), values(arguments))


def values(arguments: Sequence[Any]) -> list[Any]:
    """Return arguments as kernels take them (see ``run``)."""
    return [_value(argument) for argument in arguments]


def window_record(window: Window, x: Any) -> np.ndarray:
    """Return struct Window of kernels/common/window.cuh for images like ``x`` (N, H, W, C)."""
    output = window.output((x.shape[1], x.shape[2]))
    values = (*x.shape, *output, *window.kernel, *window.stride, *window.padding, *window.dilation)
    return np.array(values, np.int32).view(WINDOW).reshape(())


def _value(argument: Any) -> Any:
    if isinstance(argument, int):
        return np.array(argument, np.int32)
    if argument is None:
        return np.array(0, np.uint64)
    return np.array(argument, np.float32) if isinstance(argument, float) else argument
