"""Launches of kernels with one thread, or one warp, for each of many items."""

from collections.abc import Sequence
from functools import lru_cache
from math import gcd
from typing import Any

import numpy as np

from ...kernels.divide import FAST_DIVIDE, fast_divide
from ...kernels.kernel import Kernel
from ...kernels.launch import launch
from ...kernels.plan import THREADS, Launch, across_down, ceil_div
from ..window import Window

BLOCKS_PER_SM = 8
WINDOW = np.dtype(
    [
        *((name, np.int32) for name in ("images", "height", "width", "channels", "out_height", "out_width")),
        *((name, np.int32, (2,)) for name in ("kernel", "stride", "padding", "dilation")),
        *((name, np.int32) for name in ("groups", "depth")),
        *((name, np.int32, (2,)) for name in ("tap_step", "out_step")),
        *((f"by_{name}", FAST_DIVIDE) for name in ("pieces", "width", "out_width", "taps", "kernel_width")),
        ("by_stride", FAST_DIVIDE, (2,)),
    ]
)
"""struct Window of kernels/convolutions/window.cuh."""


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
    """Launch a kernel whose threads loop over all elements, by pieces, with a limited number of blocks per SM."""
    if num_elements:
        blocks = min(ceil_div(num_elements, 4 * THREADS), BLOCKS_PER_SM * device.num_processors)
        launch(device, kernel, Launch((blocks, 1, 1), (THREADS, 1, 1)), values(arguments))


def spread(device: Any, kernel: Kernel, across: int, down: int, arguments: Sequence[Any], layers: int = 1) -> None:
    """Launch a kernel that loops over items in up to three dimensions (``kernels.plan.across_down``)."""
    if across * down * layers:
        launch(device, kernel, across_down(across, down, device.num_processors, layers), values(arguments))


def values(arguments: Sequence[Any]) -> list[Any]:
    """Return arguments in the form in which kernels take them (see ``run``)."""
    return [_value(argument) for argument in arguments]


def size_of(array: Any) -> np.ndarray:
    """Return the number of elements as a 64-bit argument."""
    return np.array(array.size, np.int64)


def piece_of(array: Any) -> int:
    """Return the number of elements in 16 bytes, which a thread takes at a time."""
    return 16 // int(array.itemsize)


def num_pieces(channels: int, piece: int) -> int:
    """Return the number of pieces of a pixel, the last of which may have fewer channels than the others."""
    return ceil_div(channels, piece)


def window_record(window: Window, x: Any, groups: int = 1, piece: int = 0) -> np.ndarray:
    """Return struct Window of kernels/convolutions/window.cuh for images of the shape of ``x`` (N, H, W, C)."""
    return _window_record(window, tuple(x.shape), groups, piece or piece_of(x))


@lru_cache(maxsize=1024)
def _window_record(window: Window, shape: tuple[int, int, int, int], groups: int, piece: int) -> np.ndarray:
    output, (kernel_height, kernel_width) = window.output(shape[1:3]), window.kernel
    factors = [gcd(*both) for both in zip(window.stride, window.dilation, strict=True)]
    depth = shape[3] // groups
    steps = [[n // factor for n, factor in zip(of, factors, strict=True)] for of in (window.stride, window.dilation)]
    divisors = num_pieces(depth, piece), shape[2], output[1], kernel_height * kernel_width, kernel_width
    fields = *shape, *output, window.kernel, window.stride, window.padding, window.dilation, groups, depth, *steps
    divisions = *map(fast_divide, divisors), [fast_divide(stride) for stride in window.stride]
    return np.array((*fields, *divisions), WINDOW)


def _value(argument: Any) -> Any:
    if isinstance(argument, int):
        return np.array(argument, np.int32)
    if argument is None:
        return np.array(0, np.uint64)
    return np.array(argument, np.float32) if isinstance(argument, float) else argument
