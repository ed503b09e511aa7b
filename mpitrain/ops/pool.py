"""Pooling: the largest or the mean value under each window.

Shapes: x (N, H, W, C), padded (N, H', W', C), y (N, OH, OW, C); C-contiguous, one dtype. Any N, also 0.
A window's taps are visited one at a time, each as a strided view of the whole batch, so a pool over KH x KW pixels
is KH KW passes over arrays of the size of y and no copy of x.
"""

from collections.abc import Iterator

import numpy as np

from .dispatch import op
from .window import Pair, Window, tap


@op
def max_pool(padded: np.ndarray, window: Window, y: np.ndarray, relu: bool = False) -> None:
    """Write the maximum under each window (and of 0, with ``relu``) to ``y``; the border of ``padded`` holds -inf."""
    first, *rest = _taps(padded, window, y)
    np.copyto(y, first)
    for pixels in rest:
        np.maximum(y, pixels, out=y)
    if relu:
        np.maximum(y, 0, out=y)


@op
def max_pool_winner(
    padded: np.ndarray,
    window: Window,
    y: np.ndarray,
    winner: np.ndarray,
    pixels: np.ndarray,
    number: np.ndarray,
    relu: bool = False,
) -> None:
    """Do as ``max_pool`` and write to ``winner`` (unsigned integers) the number of the first tap with the maximum.

    With ``relu``, where no tap is above 0 the winner is KH KW, which no tap has: the gradient goes nowhere.

    ``pixels`` and ``number`` are scratch in the shapes and types of y and winner. Taps are copied to ``pixels``
    first, since short runs of channels are slow to read; and masked assignment is slower than arithmetic.
    """
    first, *rest = _taps(padded, window, y)
    np.copyto(y, first)
    winner.fill(0)
    for k, tap_pixels in enumerate(rest, 1):
        np.copyto(pixels, tap_pixels)
        np.greater(pixels, y, out=number, casting="unsafe")
        np.multiply(number, k, out=number)
        np.maximum(winner, number, out=winner)
        np.maximum(y, pixels, out=y)
    if relu:
        np.less_equal(y, 0, out=number, casting="unsafe")
        np.multiply(number, window.kernel[0] * window.kernel[1], out=number)
        np.maximum(winner, number, out=winner)
        np.maximum(y, 0, out=y)


@op
def max_pool_dx(winner: np.ndarray, dy: np.ndarray, window: Window, dx: np.ndarray, part: np.ndarray) -> None:
    """Write to ``dx`` (N, H', W', C) the gradient: each dy goes to the pixel that won (``part``: scratch like dy)."""
    disjoint = _clear(dx, window, dy)
    for k, place in enumerate(_taps(dx, window, dy)):
        hit = winner == k
        if disjoint:
            np.multiply(dy, hit, out=place)
        else:
            np.multiply(dy, hit, out=part)
            np.add(place, part, out=place)


@op
def mean_pool(padded: np.ndarray, window: Window, y: np.ndarray) -> None:
    """Write the mean under each window to ``y``; the zeros of the border count as pixels."""
    first, *rest = _taps(padded, window, y)
    np.copyto(y, first)
    for seen in rest:
        np.add(y, seen, out=y)
    np.multiply(y, 1 / (window.kernel[0] * window.kernel[1]), out=y)


@op
def mean_pool_dx(dy: np.ndarray, window: Window, dx: np.ndarray) -> None:
    """Write to ``dx`` (N, H', W', C) the gradient: an equal part of dy for each pixel (``dy`` is overwritten)."""
    np.multiply(dy, 1 / (window.kernel[0] * window.kernel[1]), out=dy)
    disjoint = _clear(dx, window, dy)
    for place in _taps(dx, window, dy):
        if disjoint:
            np.copyto(place, dy)
        else:
            np.add(place, dy, out=place)


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


def _taps(padded: np.ndarray, window: Window, y: np.ndarray) -> Iterator[np.ndarray]:
    output: Pair = y.shape[1], y.shape[2]
    for kh in range(window.kernel[0]):
        for kw in range(window.kernel[1]):
            yield tap(padded, window, output, kh, kw)


def _clear(dx: np.ndarray, window: Window, dy: np.ndarray) -> bool:
    """Zero ``dx`` unless the windows write every pixel of it; return whether they are disjoint."""
    disjoint = window.stride[0] >= window.kernel[0] and window.stride[1] >= window.kernel[1]
    covered = dy.shape[1] * window.kernel[0], dy.shape[2] * window.kernel[1]
    if not disjoint or covered != dx.shape[1:3]:
        dx.fill(0)
    return disjoint
