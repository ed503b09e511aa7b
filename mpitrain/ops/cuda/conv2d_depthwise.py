"""Depthwise convolution on a GPU: a filter for each channel, four channels a thread.

Shapes: x (N, H, W, C), w (KH, KW, 1, C), b (C,), y (N, OH, OW, C); x, y and their gradients fp32 or bf16, w, b and dw
fp32.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.divide import divide_record
from ...kernels.launch import launch
from ...kernels.plan import MOST_BLOCKS, PIECE, THREADS, Launch, ceil_div
from ..conv2d import Conv2dPlan
from ..conv2d_depthwise import Depthwise
from ..window import Window
from ..workspace import workspace
from .elements import ElementKernel, element_kernel, elements_fit
from .launch import num_pieces, spread, values, window_record
from .reduce import BLOCK_COLUMNS, SUM_ROWS, Parts

ROWS, TAPS = 4, 9  # lines of y that a thread computes together, and taps of which it sums dw
SIZES, STRIDES = (3, 5), (1, 2)  # of filters that are built for
MOST_PIECES = 64  # of a block of dw
BLOCKS_PER_SM = 2  # of dw
ALIGNMENT = 16

ANY = element_kernel("conv2d_depthwise.cu")
DX = element_kernel("conv2d_depthwise_gradients.cu", name="conv2d_depthwise_dx")
DW = element_kernel("conv2d_depthwise_gradients.cu", name="conv2d_depthwise_dw")
DW_BUILT = {
    size: element_kernel("conv2d_depthwise_gradients.cu", {"KERNEL": size}, name="conv2d_depthwise_dw")
    for size in SIZES
}


def filters(size: int, stride: int, flip: int) -> ElementKernel:
    """Return the kernel for square filters of a ``size``."""
    return element_kernel("conv2d_depthwise.cu", {"KERNEL": size, "STRIDE": stride, "FLIP": flip})


BUILT = {
    (size, stride, flip): filters(size, stride, flip)
    for size in SIZES
    for stride in STRIDES
    for flip in (0, 1)
    if stride == 1 or not flip
}


def covers(plan: Conv2dPlan, w: Any, *images: Any) -> bool:
    """Return whether ``plan`` is depthwise, of arrays that the kernels take; ``w`` may be its gradient."""
    if not isinstance(plan.forward_plan, Depthwise) or w.dtype != np.float32 or not w.flags.c_contiguous:
        return False
    return elements_fit(*images)


def forward(x: Any, w: Any, b: Any, y: Any, window: Window) -> None:
    """Write y = x * w + b."""
    _convolve(x, w, b, y, window, 0)


def dx(dy: Any, w: Any, out: Any, window: Window) -> None:
    """Write the gradient of x: with stride 1 a convolution with flipped filters, else gathered pixel by pixel."""
    if window.stride == (1, 1) and _is_built(window, 1, dy, w, out):
        padding = window.kernel[0] - 1 - window.padding[0], window.kernel[1] - 1 - window.padding[1]
        _convolve(dy, w, None, out, replace(window, padding=padding), 1)
        return
    across = out.shape[1] * out.shape[2] * num_pieces(out.shape[3], PIECE)
    spread(device_of(out), DX.of(out), across, len(out), (dy, w, out, window_record(window, out, piece=PIECE)))


def dw(x: Any, dy: Any, out: Any, window: Window, accumulate: bool) -> None:
    """Write (or add) the gradient of w: sums over parts of all lines, then over the parts, in order."""
    if not dy.size:
        if not accumulate:
            out.fill(0)
        return
    device: Any = device_of(out)
    images, height, _, channels = dy.shape
    which, piece, taps = _dw_kernel(x, dy, window), PIECE, window.kernel[0] * window.kernel[1]
    if which is DW_BUILT[5] and dy.itemsize == 4:
        piece = PIECE // 2  # so that 25 sums of each channel fit into registers
    pieces = num_pieces(channels, piece)
    wide = min(MOST_PIECES, 1 << (pieces - 1).bit_length())
    columns, layers = ceil_div(pieces, wide), ceil_div(taps, TAPS) if which is DW else 1
    wanted = max(1, BLOCKS_PER_SM * device.num_processors // (columns * layers))
    lines = ceil_div(height, min(height, ceil_div(wanted, images)))
    strips = ceil_div(height, lines)
    parts = min(images * strips, wanted, MOST_BLOCKS[1])
    between = workspace(out, "parts of dw", (parts, taps * channels), np.float32)
    plan = Launch((columns, parts, layers), (wide, THREADS // wide, 1))
    record = window_record(window, x, piece=piece)
    launch(device, which.of(x), plan, values((x, dy, between, record, divide_record(strips), lines)))
    whole = Parts(ceil_div(taps * channels, BLOCK_COLUMNS), 1, parts)
    whole.launch(device, SUM_ROWS, between, out, parts, taps * channels, parts, int(accumulate))


def _dw_kernel(x: Any, dy: Any, window: Window) -> ElementKernel:
    """Return the kernel for dw: one that is built for a size of filters with a stride of 1, or the one for any."""
    size, whole = window.kernel[0], _is_built(window, 0, x, dy)
    return DW_BUILT[size] if whole and window.stride == (1, 1) else DW


def _convolve(x: Any, w: Any, b: Any, y: Any, window: Window, flip: int) -> None:
    built = _is_built(window, flip, x, w, y, *(() if b is None else (b,)))
    which = BUILT[window.kernel[0], window.stride[0], flip] if built else ANY
    lines = ceil_div(y.shape[1], ROWS) if built else y.shape[1]
    arguments = x, w, b, y, window_record(window, x, piece=PIECE)
    spread(device_of(y), which.of(y), y.shape[2] * num_pieces(y.shape[3], PIECE), lines, arguments, layers=len(y))


def _is_built(window: Window, flip: int, *arrays: Any) -> bool:
    """Return whether a kernel is built for the filters, and the arrays are whole, aligned pieces."""
    size, stride = window.kernel[0], window.stride[0]
    square = window.kernel == (size, size) and window.stride == (stride, stride) and window.dilation == (1, 1)
    if not square or (size, stride, flip) not in BUILT or arrays[0].shape[3] % PIECE:
        return False
    return not any(int(array.data.ptr) % ALIGNMENT for array in arrays)
