"""Random parts of images, resized to their whole size (Szegedy et al. 2015, "Going deeper with convolutions").

Shapes: n samples; H, W, C height, width and channels of an image; h, w height and width of a part.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from .base import Augmentation, check_range
from .draws import Draws

_TRIES = 10
_CHUNK = 1 << 16  # values at a time: their float32 stay in the cache


class Boxes(NamedTuple):
    """Parts of images: rows [top, top + height), columns [left, left + width); (n,) arrays of int."""

    top: np.ndarray
    left: np.ndarray
    height: np.ndarray
    width: np.ndarray


class RandomResizedCrop(Augmentation):
    """A part of random area and aspect ratio, resized to the size of the image by bilinear interpolation.

    Parameters
    ----------
    scale : float
        Smallest share of the area.
    ratio : float
        Largest ratio of width and height of the part over that of the image, and of its inverse.
    """

    name = "random-resized-crop"
    moves_pixels = True

    def __init__(self, scale: float = 0.08, ratio: float = 1.333):
        check_range(self.name, "scale", scale, 0.001, 1)
        check_range(self.name, "ratio", ratio, 1, 100)
        self.scale, self.ratio = scale, ratio

    def images(self, x: np.ndarray, draws: Draws, mean: np.ndarray) -> None:
        """Cut and resize images."""
        boxes = self.boxes(draws, x.shape[1:3])
        size = max(1, _CHUNK // max(1, math.prod(x.shape[1:])))
        for first in range(0, len(x), size):
            part = slice(first, first + size)
            resize(x[part], Boxes(*(values[part] for values in boxes)))

    def classes(self, y: np.ndarray, draws: Draws, fill: int) -> None:
        """Cut classes of pixels, and take the nearest one."""
        boxes = self.boxes(draws, y.shape[1:3])
        rows = _nearest(y.shape[1], boxes.top, boxes.height)
        columns = _nearest(y.shape[2], boxes.left, boxes.width)
        y[...] = y[np.arange(len(y))[:, None, None], rows[:, :, None], columns[:, None, :]]

    def boxes(self, draws: Draws, size: tuple[int, int]) -> Boxes:
        """Return the part of each image of ``size``: the first of ten draws that fits into it, or else all of it."""
        height, width = size
        h, w = np.full(len(draws), height), np.full(len(draws), width)
        missing = np.ones(len(draws), bool)
        for i in range(_TRIES):
            area = draws.uniform(4 * i, self.scale, 1.0)
            ratio = np.exp(draws.uniform(4 * i + 1, -math.log(self.ratio), math.log(self.ratio)))
            tall = np.rint(height * np.sqrt(area / ratio)).astype(np.intp)
            wide = np.rint(width * np.sqrt(area * ratio)).astype(np.intp)
            fits = missing & (tall >= 1) & (wide >= 1) & (tall <= height) & (wide <= width)
            h[fits], w[fits] = tall[fits], wide[fits]
            missing &= ~fits
            if not missing.any():
                break
        return Boxes(draws.integers(2, height - h + 1), draws.integers(3, width - w + 1), h, w)


def resize(x: np.ndarray, boxes: Boxes) -> None:
    """Replace each image of ``x`` (n, H, W, C) by a part of it in the same size, by bilinear interpolation.

    Pixels have their centers at 0.5, 1.5 and so on; beyond the edge of the part its last pixels go on. Bytes are
    rounded to the nearest, of two halves to the even one.
    """
    n, height, width, channels = x.shape
    above, below, down = _between(height, boxes.top, boxes.height)
    left, right, across = _between(width, boxes.left, boxes.width)
    first = np.arange(n)[:, None] * height
    lines = x.reshape(n * height, width * channels)
    found = _blend(lines, above + first, below + first, down[:, :, None])  # (n, H, W C)
    pixels = found.reshape(n * height * width, channels)
    origin = np.arange(n * height).reshape(n, height, 1) * width
    found = _blend(pixels, origin + left[:, None], origin + right[:, None], across[:, None, :, None])
    np.copyto(x, np.rint(found, out=found) if x.dtype.kind in "ui" else found, casting="unsafe")


def _blend(source: np.ndarray, first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return source[first] (1 - weight) + source[second] weight, as float32, or float64 if the source is."""
    kind: Any = np.float64 if source.dtype == np.float64 else np.float32
    taken = (np.take(source, places, axis=0, mode="clip") for places in (first, second))
    a, b = (values.astype(kind, copy=False) for values in taken)
    b -= a
    b *= weight.astype(kind)
    b += a
    return b


def _between(size: int, first: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the two places of a part to blend, and the weight of the second, for each of ``size`` results."""
    at = (np.arange(size) + 0.5) * (length / size)[:, None] - 0.5
    last = (length - 1)[:, None]
    at = np.clip(at, 0, last)
    low = at.astype(np.intp)
    return first[:, None] + low, first[:, None] + np.minimum(low + 1, last), at - low


def _nearest(size: int, first: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return, for each of ``size`` results, the place in a part that is nearest; (n, size)."""
    at = ((np.arange(size) + 0.5) * (length / size)[:, None]).astype(np.intp)
    found: np.ndarray = first[:, None] + np.minimum(at, (length - 1)[:, None])
    return found
