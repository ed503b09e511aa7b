"""Launches of kernels with one thread, or one warp, for each of many items."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...kernels.kernel import Kernel
from ...kernels.launch import launch
from ...kernels.plan import Launch, ceil_div
from ..window import Window

THREADS = 256
BLOCKS_PER_SM = 8
WINDOW = np.dtype((np.void, 14 * 4))


def fits(*arrays: Any) -> bool:
    """Return whether all ``arrays`` are fp32 and C-contiguous."""
    return all(a.dtype == np.float32 and a.flags.c_contiguous for a in arrays)


def run(device: Any, kernel: Kernel, num_threads: int, arguments: Sequence[Any]) -> None:
    """Launch at least ``num_threads`` threads in blocks of 256; for 0, nothing.

    Python's ints are passed as 32 bits, floats as fp32, None as the null pointer; numbers of 64 bits must be 0-d NumPy
    arrays (``size_of``).
    """
    if num_threads:
        plan = Launch((ceil_div(num_threads, THREADS), 1, 1), (THREADS, 1, 1))
        launch(device, kernel, plan, values(arguments))


def loop(device: Any, kernel: Kernel, num_elements: int, arguments: Sequence[Any]) -> None:
    """Launch a kernel whose threads loop over all elements, four at a time, with a limited number of blocks per SM."""
    if num_elements:
        blocks = min(ceil_div(num_elements, 4 * THREADS), BLOCKS_PER_SM * device.num_processors)
        launch(device, kernel, Launch((blocks, 1, 1), (THREADS, 1, 1)), values(arguments))


def values(arguments: Sequence[Any]) -> list[Any]:
    """Return arguments in the form in which kernels take them (see ``run``)."""
    return [_value(argument) for argument in arguments]


def size_of(array: Any) -> np.ndarray:
    """Return the number of elements as a 64-bit argument."""
    return np.array(array.size, np.int64)


def window_record(window: Window, x: Any) -> np.ndarray:
    """Return struct Window of kernels/common/window.cuh for images of the shape of ``x`` (N, H, W, C)."""
    output = window.output((x.shape[1], x.shape[2]))
    values = (*x.shape, *output, *window.kernel, *window.stride, *window.padding, *window.dilation)
    return np.array(values, np.int32).view(WINDOW).reshape(())


def _value(argument: Any) -> Any:
    if isinstance(argument, int):
        return np.array(argument, np.int32)
    if argument is None:
        return np.array(0, np.uint64)
    return np.array(argument, np.float32) if isinstance(argument, float) else argument
