"""Images by loops over every pixel and tap in float64: the oracle of convolutions and pools."""

import itertools

import numpy as np

from mpitrain.ops.window import Window


def naive_conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, window: Window, groups: int = 1) -> np.ndarray:
    """Return the cross-correlation of x (N, H, W, C) with w (KH, KW, C/G, O)."""
    height, width, per_group, num_outputs = w.shape
    oh, ow = window.output(x.shape[1:3])
    y = np.zeros((len(x), oh, ow, num_outputs))
    for n, i, j, o in np.ndindex(y.shape):
        first = o // (num_outputs // groups) * per_group
        total = 0.0 if b is None else float(b[o])
        for kh, kw in itertools.product(range(height), range(width)):
            place = _pixel(x, window, i, j, kh, kw)
            if place is not None:
                total += np.dot(x[n, *place, first : first + per_group].astype(np.float64), w[kh, kw, :, o])
        y[n, i, j, o] = total
    return y


def naive_pool(x: np.ndarray, window: Window, largest: bool) -> np.ndarray:
    """Return the maximum (of real pixels) or the mean (padded zeros counted) under each window."""
    height, width = window.kernel
    y = np.zeros((len(x), *window.output(x.shape[1:3]), x.shape[3]))
    for n, i, j, c in np.ndindex(y.shape):
        places = (_pixel(x, window, i, j, kh, kw) for kh, kw in itertools.product(range(height), range(width)))
        values = [float(x[n, *place, c]) for place in places if place is not None]
        y[n, i, j, c] = max(values) if largest else sum(values) / (height * width)
    return y


def _pixel(x: np.ndarray, window: Window, i: int, j: int, kh: int, kw: int) -> tuple[int, int] | None:
    """Return the pixel under tap (kh, kw) of output (i, j), None if it lies on the border."""
    row = i * window.stride[0] + kh * window.dilation[0] - window.padding[0]
    column = j * window.stride[1] + kw * window.dilation[1] - window.padding[1]
    return (row, column) if 0 <= row < x.shape[1] and 0 <= column < x.shape[2] else None
