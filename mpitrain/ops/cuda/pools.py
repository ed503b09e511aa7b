"""Pools on a GPU: one launch each."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import Kernel, kernel
from .. import pool
from ..window import Window
from .launch import loop, window_record


def _kernel(name: str, bits: int = 8) -> Kernel:
    return kernel("pool.cu", {} if bits == 8 else {"WINNER_BITS": bits}, name=name)


MAX_POOL = {bits: _kernel("max_pool", bits) for bits in (8, 16)}
MAX_POOL_DX = {bits: _kernel("max_pool_dx", bits) for bits in (8, 16)}
MEAN_POOL, MEAN_POOL_DX = _kernel("mean_pool"), _kernel("mean_pool_dx")
GLOBAL_MEAN, GLOBAL_MEAN_DX = _kernel("global_mean"), _kernel("global_mean_dx")


def _fits(*arrays: Any) -> bool:
    return all(a.dtype == np.float32 and a.flags.c_contiguous for a in arrays)


@pool.max_pool.cuda
def max_pool(padded: Any, window: Window, y: Any, relu: bool = False) -> bool:
    """Write the maxima, and not where they are."""
    if not _fits(padded, y):
        return False
    loop(device_of(y), MAX_POOL[8], y.size, (padded, y, None, int(relu), window_record(_unpadded(window), padded)))
    return True


@pool.mean_pool.cuda
def mean_pool(padded: Any, window: Window, y: Any) -> bool:
    """Write the means."""
    if not _fits(padded, y):
        return False
    loop(device_of(y), MEAN_POOL, y.size, (padded, y, window_record(_unpadded(window), padded)))
    return True


@pool.mean_pool_dx.cuda
def mean_pool_dx(dy: Any, window: Window, dx: Any) -> bool:
    """Write the gradient: each pixel asks the windows that see it."""
    if not _fits(dy, dx):
        return False
    loop(device_of(dy), MEAN_POOL_DX, dx.size, (dy, dx, window_record(_unpadded(window), dx)))
    return True


@pool.global_mean.cuda
def global_mean(x: Any, y: Any) -> bool:
    """Write the mean over all pixels."""
    if not _fits(x, y):
        return False
    loop(device_of(x), GLOBAL_MEAN, y.size, (x, y, len(x), x.shape[1] * x.shape[2], x.shape[3]))
    return True


@pool.global_mean_dx.cuda
def global_mean_dx(dy: Any, dx: Any) -> bool:
    """Write dy / pixels to every pixel."""
    if not _fits(dy, dx):
        return False
    loop(device_of(dx), GLOBAL_MEAN_DX, dx.size, (dy, dx, len(dx), dx.shape[1] * dx.shape[2], dx.shape[3]))
    return True


@pool.max_pool_winner.cuda
def max_pool_winner(
    padded: Any, window: Window, y: Any, winner: Any, pixels: Any, number: Any, relu: bool = False
) -> bool:
    """Write the maxima and the taps that have them."""
    bits = 8 * winner.itemsize
    if not _fits(padded, y) or bits not in MAX_POOL:
        return False
    arguments = padded, y, winner, int(relu), window_record(_unpadded(window), padded)
    loop(device_of(y), MAX_POOL[bits], y.size, arguments)
    return True


@pool.max_pool_dx.cuda
def max_pool_dx(winner: Any, dy: Any, window: Window, dx: Any, part: Any) -> bool:
    """Write the gradient: each pixel asks the windows that see it."""
    bits = 8 * winner.itemsize
    if not _fits(dy, dx) or bits not in MAX_POOL_DX:
        return False
    loop(device_of(dy), MAX_POOL_DX[bits], dx.size, (winner, dy, dx, window_record(_unpadded(window), dx)))
    return True


def _unpadded(window: Window) -> Window:
    """Return the window for images whose border is already there."""
    return Window(window.kernel, window.stride, (0, 0), window.dilation)
