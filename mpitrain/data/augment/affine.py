"""Images turned, sheared and moved, by bilinear interpolation.

Shapes: n images; H, W, C height, width and channels of an image; matrices (n, 2, 3).

A matrix (a b c; d e f) gives the place (a x + b y + c, d x + e y + f) in the old image for (x, y) in the new one, where
pixels have their centers at 0.5, 1.5 and so on. Places outside of the old image give the fill, as in Pillow.
"""

import math

import numpy as np

_CHUNK = 1 << 15  # pixels at a time


def rotation(degrees: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return matrices that turn images of ``size`` (H, W) about their centers, counterclockwise."""
    angle = np.radians(degrees)
    return _about_center(np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle), size)


def shear(across: np.ndarray, down: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return matrices that shear images about their centers: x + across y, y + down x."""
    ones = np.ones_like(across)
    return _about_center(ones, across, down, ones, size)


def translation(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Return matrices that take (x + across, y + down), in pixels."""
    ones, zeros = np.ones_like(across), np.zeros_like(across)
    return _matrices(ones, zeros, across, zeros, ones, down)


def _about_center(a: np.ndarray, b: np.ndarray, d: np.ndarray, e: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    y, x = size[0] / 2, size[1] / 2
    return _matrices(a, b, x - a * x - b * y, d, e, y - d * x - e * y)


def _matrices(*entries: np.ndarray) -> np.ndarray:
    return np.stack(entries, axis=1).reshape(-1, 2, 3)


def transform(x: np.ndarray, matrices: np.ndarray, fill: int) -> None:
    """Transform images (n, H, W, C) in place by bilinear interpolation; bytes are rounded to the nearest."""
    for part in _parts(x):
        x[part] = _transformed(x[part], matrices[part], fill)


def transform_classes(y: np.ndarray, matrices: np.ndarray, fill: int) -> None:
    """Transform classes of pixels (n, H, W, 1) in place: the class of the nearest pixel."""
    for part in _parts(y):
        across, down, inside = _places(y[part], matrices[part])
        rows, columns = _clip(down, y.shape[1]), _clip(across, y.shape[2])
        found = y[part][np.arange(len(rows))[:, None, None], rows, columns]
        y[part] = np.where(inside[..., None], found, fill)


def _transformed(x: np.ndarray, matrices: np.ndarray, fill: int) -> np.ndarray:
    n, height, width, channels = x.shape
    across, down, inside = _places(x, matrices)
    across, down = across - 0.5, down - 0.5
    left, top = np.floor(across), np.floor(down)
    u, v = (across - left).astype(np.float32)[..., None], (down - top).astype(np.float32)[..., None]
    columns = _clip(left, width), _clip(left + 1, width)
    rows = _clip(top, height), _clip(top + 1, height)
    pixels, origin = x.reshape(-1, channels), np.arange(n).reshape(n, 1, 1) * height
    lines = []
    for row in rows:
        first, second = (
            np.take(pixels, (origin + row) * width + column, axis=0, mode="clip").astype(np.float32)
            for column in columns
        )
        second -= first
        second *= u
        second += first
        lines.append(second)
    found = lines[0] + v * (lines[1] - lines[0])
    if x.dtype.kind in "ui":
        found = np.floor(found + np.float32(0.5))
    whole: np.ndarray = np.where(inside[..., None], found, fill).astype(x.dtype)
    return whole


def _places(x: np.ndarray, matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the places (n, H, W) in the old images, across and down, and whether they are inside."""
    height, width = x.shape[1:3]
    at_x, at_y = np.arange(width) + 0.5, (np.arange(height) + 0.5)[:, None]
    across, down = (
        row[:, 0, None, None] * at_x + row[:, 1, None, None] * at_y + row[:, 2, None, None]
        for row in (matrices[:, 0], matrices[:, 1])
    )
    return across, down, (across >= 0) & (across < width) & (down >= 0) & (down < height)


def _clip(places: np.ndarray, size: int) -> np.ndarray:
    found: np.ndarray = np.clip(places, 0, size - 1).astype(np.intp)
    return found


def _parts(x: np.ndarray) -> list[slice]:
    size = max(1, _CHUNK // max(1, math.prod(x.shape[1:3])))
    return [slice(first, first + size) for first in range(0, len(x), size)]
