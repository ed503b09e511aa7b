"""Pools on a GPU: one launch each."""

from math import prod
from typing import Any, NamedTuple

from ...device import device_of
from ...kernels.divide import divide_record
from ...kernels.launch import launch
from ...kernels.plan import MOST_BLOCKS, THREADS, Launch, ceil_div
from .. import pool as ops
from ..window import Window
from .elements import ElementKernel, element_kernel, elements_fit, fitting
from .launch import num_pieces, piece_of, spread, values, window_record

STRIP = 4, 2  # lines of y of a thread with a stride of 1, and with others
STEPS = 4, 1  # steps of dx of a thread, likewise
BUILT = ((2, 2), (3, 2), (3, 1))  # (size, stride) of windows that are built for
ALIGNMENT = 16


class Pool(NamedTuple):
    """A kernel of pool.cu: for any window, and for those of BUILT."""

    any: ElementKernel
    built: dict[tuple[int, int], ElementKernel]


def _pool(name: str, bits: int = 8) -> Pool:
    macros = {} if bits == 8 else {"ARGMAX_BITS": bits}
    of_size = {
        (size, stride): element_kernel("pool.cu", macros | {"KERNEL": size, "STRIDE": stride}, name=name)
        for size, stride in (BUILT if bits == 8 else ())  # so few taps are numbered by 8 bits
    }
    return Pool(element_kernel("pool.cu", macros, name=name), of_size)


MAX_POOL = {bits: _pool("max_pool", bits) for bits in (8, 16)}
MAX_POOL_DX = {bits: _pool("max_pool_dx", bits) for bits in (8, 16)}
MEAN_POOL, MEAN_POOL_DX = _pool("mean_pool"), _pool("mean_pool_dx")
GLOBAL_MEAN, GLOBAL_MEAN_DX = (element_kernel("pool.cu", name=f"global_mean{which}") for which in ("", "_dx"))


@ops.max_pool.cuda
def max_pool(x: Any, window: Window, y: Any, relu: bool) -> bool:
    """Write the maxima only."""
    if not elements_fit(x, y):
        return False
    _forward(MAX_POOL[8], window, (x, y, None, int(relu)), x, y)
    return True


@ops.max_pool_argmax.cuda
def max_pool_argmax(x: Any, window: Window, y: Any, argmax: Any, relu: bool) -> bool:
    """Write the maxima and the taps that gave them."""
    bits = 8 * argmax.itemsize
    if not elements_fit(x, y) or bits not in MAX_POOL:
        return False
    _forward(MAX_POOL[bits], window, (x, y, argmax, int(relu)), x, y, argmax)
    return True


@ops.max_pool_dx.cuda
def max_pool_dx(argmax: Any, dy: Any, window: Window, dx: Any) -> bool:
    """Write the gradient: each pixel gathers from the windows that cover it."""
    bits = 8 * argmax.itemsize
    if not elements_fit(dy, dx) or bits not in MAX_POOL_DX:
        return False
    _backward(MAX_POOL_DX[bits], window, (argmax, dy, dx), dx, dy, argmax)
    return True


@ops.mean_pool.cuda
def mean_pool(x: Any, window: Window, y: Any) -> bool:
    """Write the means."""
    if not elements_fit(x, y):
        return False
    _forward(MEAN_POOL, window, (x, y, 1 / prod(window.kernel)), x, y)
    return True


@ops.mean_pool_dx.cuda
def mean_pool_dx(dy: Any, window: Window, dx: Any) -> bool:
    """Write the gradient: each pixel gathers from the windows that cover it."""
    if not elements_fit(dy, dx):
        return False
    _backward(MEAN_POOL_DX, window, (dy, dx, 1 / prod(window.kernel)), dx, dy)
    return True


@ops.global_mean.cuda
def global_mean(x: Any, y: Any) -> bool:
    """Write the mean over all pixels."""
    if not elements_fit(y):
        return False
    x = fitting(x, y, "images")
    images, height, width, channels = x.shape
    if y.size:
        grid = ceil_div(channels, 32 * piece_of(x)), min(images, MOST_BLOCKS[1]), 1
        arguments = x, y, 1 / (height * width), images, height * width, channels
        launch(device_of(x), GLOBAL_MEAN.of(x), Launch(grid, (THREADS, 1, 1)), values(arguments))
    return True


@ops.global_mean_dx.cuda
def global_mean_dx(dy: Any, dx: Any) -> bool:
    """Write dy / pixels to every pixel."""
    if not elements_fit(dy, dx):
        return False
    images, height, width, channels = dx.shape
    if dx.size:
        sizes = images, height * width, channels, divide_record(num_pieces(channels, piece_of(dx)))
        _pixel_by_pixel(GLOBAL_MEAN_DX, dx, (dy, dx, 1 / (height * width), *sizes))
    return True


def _forward(pool: Pool, window: Window, arguments: tuple[Any, ...], x: Any, y: Any, *others: Any) -> None:
    """Launch a kernel that writes ``y``: strips of its lines, or pixel by pixel."""
    built, arguments = _built(pool, window, x, y, *others), (*arguments, window_record(window, x))
    if built is None:
        _pixel_by_pixel(pool.any, y, arguments)
        return
    images, height, width, channels = y.shape
    across, lines = width * num_pieces(channels, piece_of(y)), STRIP[window.stride[0] > 1]
    spread(device_of(y), built.of(y), across, ceil_div(height, lines), arguments, images)


def _backward(pool: Pool, window: Window, arguments: tuple[Any, ...], dx: Any, *others: Any) -> None:
    """Launch a kernel that writes ``dx``: strips of steps, which are as many pixels as a stride, or pixel by pixel."""
    built, arguments = _built(pool, window, dx, *others), (*arguments, window_record(window, dx))
    if built is None:
        _pixel_by_pixel(pool.any, dx, arguments)
        return
    images, channels, stride = len(dx), dx.shape[3], window.stride[0]
    rows, cols = ((size - 1 + pad) // stride - pad // stride + 1 for size, pad in zip(dx.shape[1:3], window.padding))
    across, strips = cols * num_pieces(channels, piece_of(dx)), ceil_div(rows, STEPS[stride > 1])
    spread(device_of(dx), built.of(dx), across, strips, arguments, images)


def _built(pool: Pool, window: Window, *arrays: Any) -> ElementKernel | None:
    """Return the kernel for this window, if there is one and the arrays are whole, aligned pieces."""
    size, stride = window.kernel[0], window.stride[0]
    if window.kernel != (size, size) or window.stride != (stride, stride) or arrays[0].shape[3] % piece_of(arrays[0]):
        return None
    aligned = all(int(array.data.ptr) % ALIGNMENT == 0 for array in arrays)
    return pool.built.get((size, stride)) if aligned else None


def _pixel_by_pixel(kernel: ElementKernel, out: Any, arguments: tuple[Any, ...]) -> None:
    """Launch a kernel that writes ``out`` (N, H, W, C)."""
    images, height, width, channels = out.shape
    pieces = num_pieces(channels, piece_of(out))
    spread(device_of(out), kernel.of(out), height * width * pieces, images, arguments)
