"""Pools on a GPU: one launch each."""

from typing import Any

from ...device import device_of
from ...kernels.kernel import Kernel, kernel
from .. import pool as ops
from ..window import Window
from .launch import fits, loop, window_record


def _kernel(name: str, bits: int = 8) -> Kernel:
    return kernel("pool.cu", {} if bits == 8 else {"ARGMAX_BITS": bits}, name=name)


MAX_POOL = {bits: _kernel("max_pool", bits) for bits in (8, 16)}
MAX_POOL_DX = {bits: _kernel("max_pool_dx", bits) for bits in (8, 16)}
MEAN_POOL, MEAN_POOL_DX = _kernel("mean_pool"), _kernel("mean_pool_dx")
GLOBAL_MEAN, GLOBAL_MEAN_DX = _kernel("global_mean"), _kernel("global_mean_dx")


@ops.max_pool.cuda
def max_pool(x: Any, window: Window, y: Any, relu: bool) -> bool:
    """Write the maxima only."""
    if not fits(x, y):
        return False
    loop(device_of(y), MAX_POOL[8], y.size, (x, y, None, int(relu), window_record(window, x)))
    return True


@ops.max_pool_argmax.cuda
def max_pool_argmax(x: Any, window: Window, y: Any, argmax: Any, relu: bool) -> bool:
    """Write the maxima and the taps that gave them."""
    bits = 8 * argmax.itemsize
    if not fits(x, y) or bits not in MAX_POOL:
        return False
    loop(device_of(y), MAX_POOL[bits], y.size, (x, y, argmax, int(relu), window_record(window, x)))
    return True


@ops.max_pool_dx.cuda
def max_pool_dx(argmax: Any, dy: Any, window: Window, dx: Any) -> bool:
    """Write the gradient: each pixel gathers from the windows that cover it."""
    bits = 8 * argmax.itemsize
    if not fits(dy, dx) or bits not in MAX_POOL_DX:
        return False
    loop(device_of(dy), MAX_POOL_DX[bits], dx.size, (argmax, dy, dx, window_record(window, dx)))
    return True


@ops.mean_pool.cuda
def mean_pool(x: Any, window: Window, y: Any) -> bool:
    """Write the means."""
    if not fits(x, y):
        return False
    loop(device_of(y), MEAN_POOL, y.size, (x, y, window_record(window, x)))
    return True


@ops.mean_pool_dx.cuda
def mean_pool_dx(dy: Any, window: Window, dx: Any) -> bool:
    """Write the gradient: each pixel gathers from the windows that cover it."""
    if not fits(dy, dx):
        return False
    loop(device_of(dy), MEAN_POOL_DX, dx.size, (dy, dx, window_record(window, dx)))
    return True


@ops.global_mean.cuda
def global_mean(x: Any, y: Any) -> bool:
    """Write the mean over all pixels."""
    if not fits(x, y):
        return False
    loop(device_of(x), GLOBAL_MEAN, y.size, (x, y, len(x), x.shape[1] * x.shape[2], x.shape[3]))
    return True


@ops.global_mean_dx.cuda
def global_mean_dx(dy: Any, dx: Any) -> bool:
    """Write dy / pixels to every pixel."""
    if not fits(dy, dx):
        return False
    loop(device_of(dx), GLOBAL_MEAN_DX, dx.size, (dy, dx, len(dx), dx.shape[1] * dx.shape[2], dx.shape[3]))
    return True
