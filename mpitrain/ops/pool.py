"""Pooling: the largest or the mean value under each window.

Shapes: x, dx (N, H, W, C), y, dy (N, OH, OW, C); C-contiguous, one dtype. Any N, also 0.
A window's taps are visited one at a time, each as a strided view of the whole batch, so a pool over KH x KW pixels
is KH KW passes over arrays of the size of y and no copy of x.
"""

from collections.abc import Iterator

import numpy as np

from ..device import device_of
from .dispatch import op
from .window import Pair, Window, interior, padded, tap
from .workspace import workspace


@op
def max_pool(x: np.ndarray, window: Window, y: np.ndarray, relu: bool) -> None:
    """Write the maximum under each window, or with ``relu`` that of the maximum and 0; padded pixels do not count."""
    first, *rest = _taps(padded(x, window, -np.inf), window, y)
    np.copyto(y, first)
    for pixels in rest:
        np.maximum(y, pixels, out=y)
    if relu:
        np.maximum(y, 0, out=y)


@op
def max_pool_argmax(x: np.ndarray, window: Window, y: np.ndarray, argmax: np.ndarray, relu: bool) -> None:
    """Do as ``max_pool`` and write to ``argmax`` (unsigned integers) the number of the first tap with the maximum.

    With ``relu``, where no tap is above 0 the number is KH KW, which no tap has: the gradient goes nowhere.
    """
    # Taps are copied first, since short runs of channels are slow to read; and arithmetic on their numbers is faster
    # than masked assignment.
    first, *rest = _taps(padded(x, window, -np.inf), window, y)
    pixels = workspace(y, "pixels", y.shape)
    number = workspace(argmax, "number", y.shape)
    np.copyto(y, first)
    argmax.fill(0)
    for k, tap_pixels in enumerate(rest, 1):
        np.copyto(pixels, tap_pixels)
        np.greater(pixels, y, out=number, casting="unsafe")
        np.multiply(number, k, out=number)
        np.maximum(argmax, number, out=argmax)
        np.maximum(y, pixels, out=y)
    if relu:
        np.less_equal(y, 0, out=number, casting="unsafe")
        np.multiply(number, window.kernel[0] * window.kernel[1], out=number)
        np.maximum(argmax, number, out=argmax)
        np.maximum(y, 0, out=y)


@op
def max_pool_dx(argmax: np.ndarray, dy: np.ndarray, window: Window, dx: np.ndarray) -> None:
    """Write dx: each dy goes to the pixel that gave the maximum."""
    out = padded_like(dx, window)
    disjoint = _clear(out, window, dy)
    part = workspace(dy, "pixels", dy.shape)
    for k, place in enumerate(_taps(out, window, dy)):
        hit = argmax == k
        if disjoint:
            np.multiply(dy, hit, out=place)
        else:
            np.multiply(dy, hit, out=part)
            np.add(place, part, out=place)
    crop(out, window, dx)


@op
def mean_pool(x: np.ndarray, window: Window, y: np.ndarray) -> None:
    """Write the mean under each window to ``y``; the zeros of the padding count as pixels."""
    first, *rest = _taps(padded(x, window), window, y)
    np.copyto(y, first)
    for pixels in rest:
        np.add(y, pixels, out=y)
    np.multiply(y, 1 / (window.kernel[0] * window.kernel[1]), out=y)


@op
def mean_pool_dx(dy: np.ndarray, window: Window, dx: np.ndarray) -> None:
    """Write dx: an equal part of dy for each pixel (``dy`` is overwritten)."""
    out = padded_like(dx, window)
    np.multiply(dy, 1 / (window.kernel[0] * window.kernel[1]), out=dy)
    disjoint = _clear(out, window, dy)
    for place in _taps(out, window, dy):
        if disjoint:
            np.copyto(place, dy)
        else:
            np.add(place, dy, out=place)
    crop(out, window, dx)


@op
def scale_by_pixels(y: np.ndarray, window: Window, size: Pair) -> None:
    """Multiply each of ``y`` (N, OH, OW, C) by KH KW / the number of pixels of images of ``size`` under its window."""
    lines = [_shares(window, size, dim, y.shape[1 + dim]) for dim in (0, 1)]
    factors = np.multiply.outer(*lines).astype(y.dtype)
    np.multiply(y, device_of(y).from_host(factors[..., None]), out=y)


def _shares(window: Window, size: Pair, dim: int, outputs: int) -> np.ndarray:
    """Return (outputs,) taps along one side of a window / those that are inside of the image."""
    first = np.arange(outputs) * window.stride[dim] - window.padding[dim]
    inside = np.minimum(first + window.kernel[dim], size[dim]) - np.maximum(first, 0)
    shares: np.ndarray = window.kernel[dim] / inside
    return shares


@op
def global_mean(x: np.ndarray, y: np.ndarray) -> None:
    """Write the mean of x (N, H, W, C) over all pixels to ``y`` (N, C)."""
    pixels = x.shape[1] * x.shape[2]
    weights = np.full((1, pixels), 1 / pixels, x.dtype)
    np.matmul(weights, x.reshape(len(x), pixels, x.shape[3]), out=y[:, None])


@op
def global_mean_dx(dy: np.ndarray, dx: np.ndarray) -> None:
    """Write dx = dy / (H W) for each pixel."""
    np.multiply(dy[:, None, None], 1 / (dx.shape[1] * dx.shape[2]), out=dx)


def _taps(pixels: np.ndarray, window: Window, y: np.ndarray) -> Iterator[np.ndarray]:
    output: Pair = y.shape[1], y.shape[2]
    for kh in range(window.kernel[0]):
        for kw in range(window.kernel[1]):
            yield tap(pixels, window, output, kh, kw)


def padded_like(dx: np.ndarray, window: Window) -> np.ndarray:
    """Return memory for the gradient of the padded pixels: ``dx`` itself without padding."""
    n, height, width, channels = dx.shape
    size = window.padded((height, width))
    if size == (height, width):
        return dx
    out: np.ndarray = workspace(dx, "padded", (n, *size, channels))
    return out


def crop(out: np.ndarray, window: Window, dx: np.ndarray) -> None:
    """Copy the pixels of ``out`` without its padding to ``dx``, if they are not the same memory."""
    if out is not dx:
        np.copyto(dx, interior(out, window.padding, (dx.shape[1], dx.shape[2])))


def _clear(dx: np.ndarray, window: Window, dy: np.ndarray) -> bool:
    """Zero ``dx`` unless the windows write every pixel of it; return whether they are disjoint."""
    disjoint = window.stride[0] >= window.kernel[0] and window.stride[1] >= window.kernel[1]
    covered = dy.shape[1] * window.kernel[0], dy.shape[2] * window.kernel[1]
    if not disjoint or covered != dx.shape[1:3]:
        dx.fill(0)
    return disjoint
