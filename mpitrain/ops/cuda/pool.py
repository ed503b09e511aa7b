"""Pools on a GPU: one launch each."""

from math import prod
from typing import Any

from ...device import device_of
from ...kernels.divide import divide_record
from .. import pool as ops
from ..window import Window
from .elements import ElementKernel, element_kernel, elements_fit, fitting
from .launch import num_pieces, piece_of, spread, window_record


def _kernel(name: str, bits: int = 8) -> ElementKernel:
    return element_kernel("pool.cu", {} if bits == 8 else {"ARGMAX_BITS": bits}, name=name)


MAX_POOL = {bits: _kernel("max_pool", bits) for bits in (8, 16)}
MAX_POOL_DX = {bits: _kernel("max_pool_dx", bits) for bits in (8, 16)}
MEAN_POOL, MEAN_POOL_DX = _kernel("mean_pool"), _kernel("mean_pool_dx")
GLOBAL_MEAN, GLOBAL_MEAN_DX = _kernel("global_mean"), _kernel("global_mean_dx")


@ops.max_pool.cuda
def max_pool(x: Any, window: Window, y: Any, relu: bool) -> bool:
    """Write the maxima only."""
    if not elements_fit(x, y):
        return False
    _write(MAX_POOL[8], y, (x, y, None, int(relu), window_record(window, x)))
    return True


@ops.max_pool_argmax.cuda
def max_pool_argmax(x: Any, window: Window, y: Any, argmax: Any, relu: bool) -> bool:
    """Write the maxima and the taps that gave them."""
    bits = 8 * argmax.itemsize
    if not elements_fit(x, y) or bits not in MAX_POOL:
        return False
    _write(MAX_POOL[bits], y, (x, y, argmax, int(relu), window_record(window, x)))
    return True


@ops.max_pool_dx.cuda
def max_pool_dx(argmax: Any, dy: Any, window: Window, dx: Any) -> bool:
    """Write the gradient: each pixel gathers from the windows that cover it."""
    bits = 8 * argmax.itemsize
    if not elements_fit(dy, dx) or bits not in MAX_POOL_DX:
        return False
    _write(MAX_POOL_DX[bits], dx, (argmax, dy, dx, window_record(window, dx)))
    return True


@ops.mean_pool.cuda
def mean_pool(x: Any, window: Window, y: Any) -> bool:
    """Write the means."""
    if not elements_fit(x, y):
        return False
    _write(MEAN_POOL, y, (x, y, 1 / prod(window.kernel), window_record(window, x)))
    return True


@ops.mean_pool_dx.cuda
def mean_pool_dx(dy: Any, window: Window, dx: Any) -> bool:
    """Write the gradient: each pixel gathers from the windows that cover it."""
    if not elements_fit(dy, dx):
        return False
    _write(MEAN_POOL_DX, dx, (dy, dx, 1 / prod(window.kernel), window_record(window, dx)))
    return True


@ops.global_mean.cuda
def global_mean(x: Any, y: Any) -> bool:
    """Write the mean over all pixels."""
    if not elements_fit(y):
        return False
    x = fitting(x, y, "images")
    images, height, width, channels = x.shape
    sizes = images, height * width, channels
    spread(device_of(x), GLOBAL_MEAN.of(x), num_pieces(channels), images, (x, y, 1 / (height * width), *sizes))
    return True


@ops.global_mean_dx.cuda
def global_mean_dx(dy: Any, dx: Any) -> bool:
    """Write dy / pixels to every pixel."""
    if not elements_fit(dy, dx):
        return False
    images, height, width, channels = dx.shape
    if dx.size:
        sizes = images, height * width, channels, divide_record(num_pieces(channels, piece_of(dx)))
        _write(GLOBAL_MEAN_DX, dx, (dy, dx, 1 / (height * width), *sizes))
    return True


def _write(kernel: ElementKernel, out: Any, arguments: tuple[Any, ...]) -> None:
    """Launch a kernel that writes ``out`` (N, H, W, C)."""
    images, height, width, channels = out.shape
    spread(device_of(out), kernel.of(out), height * width * num_pieces(channels), images, arguments)
