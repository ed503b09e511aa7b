"""Rectangles of images that are erased: cutout, random erasing, and bands of a spectrogram.

Shapes: n samples; H, W, C height, width and channels of an image, or T, M, 1 frames and bands of a spectrogram.
"""

import math
from typing import Any, Literal

import numpy as np

from ...errors import UserError
from .base import Augmentation, check_images, check_range
from .draws import Draws

Fill = Literal["mean", "black"]


class Cutout(Augmentation):
    """Squares erased at random places, cut off at the edges (DeVries and Taylor 2017, arXiv 1708.04552).

    Parameters
    ----------
    size : int
        Side in pixels.
    holes : int
    fill : "mean" or "black"
        The mean of the training samples, 0 after normalization as in the paper, or 0 before it.
    """

    name = "cutout"

    def __init__(self, size: int = 8, holes: int = 1, fill: Fill = "mean"):
        check_range(self.name, "size", size, 1, float("inf"))
        check_range(self.name, "holes", holes, 0, 100)
        self.size, self.holes, self.fill = size, holes, fill

    def images(self, x: np.ndarray, draws: Draws, mean: np.ndarray) -> None:
        """Erase the squares of each image."""
        height, width = x.shape[1:3]
        value = _value(x.dtype, mean, self.fill)
        for hole in range(self.holes):
            top = draws.integers(2 * hole, height) - self.size // 2
            left = draws.integers(2 * hole + 1, width) - self.size // 2
            erase(x, top, top + self.size, left, left + self.size, value)


class RandomErasing(Augmentation):
    """A rectangle of random area and aspect ratio, erased in a share of the images (Zhong et al. 2017).

    Parameters
    ----------
    share : float
        Share of the images.
    least, most : float
        Range of the erased share of the area.
    ratio : float
        Largest ratio of the sides.
    fill : "mean" or "black"
    """

    name = "random-erasing"

    def __init__(
        self, share: float = 0.5, least: float = 0.02, most: float = 0.33, ratio: float = 3.3, fill: Fill = "mean"
    ):
        check_range(self.name, "share", share, 0, 1)
        check_range(self.name, "most", most, 0, 1)
        check_range(self.name, "least", least, 0, most)
        check_range(self.name, "ratio", ratio, 1, 100)
        self.share, self.least, self.most, self.ratio, self.fill = share, least, most, ratio, fill

    def images(self, x: np.ndarray, draws: Draws, mean: np.ndarray) -> None:
        """Erase a rectangle of some images; one that does not fit is cut off at the size of the image."""
        height, width = x.shape[1:3]
        area = draws.uniform(0, self.least, self.most) * (draws.uniform(1) < self.share)
        ratio = np.exp(draws.uniform(2, -math.log(self.ratio), math.log(self.ratio)))
        h = np.minimum(np.rint(height * np.sqrt(area * ratio)), height).astype(np.intp)
        w = np.minimum(np.rint(width * np.sqrt(area / ratio)), width).astype(np.intp)
        top, left = draws.integers(3, height - h + 1), draws.integers(4, width - w + 1)
        erase(x, top, top + h, left, left + w, _value(x.dtype, mean, self.fill))


class _Mask(Augmentation):
    """Bands of a spectrogram, along the dim ``dim`` of (T, M, 1), set to the mean (SpecAugment)."""

    dim = 0

    def __init__(self, width: int, count: int):
        check_range(self.name, "width", width, 1, float("inf"))
        check_range(self.name, "count", count, 0, 100)
        self.width, self.count = width, count

    def check(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Raise UserError if the samples are no spectrograms, or shorter than the mask."""
        check_images(self.name, shape)
        if self.width > shape[self.dim]:
            what = ("frames", "bands")[self.dim]
            raise UserError(f"{self.name}: width is {self.width}, but the samples have only {shape[self.dim]} {what}")

    def images(self, x: np.ndarray, draws: Draws, mean: np.ndarray) -> None:
        """Set bands to the mean."""
        value, whole = _value(x.dtype, mean, "mean"), x.shape[1:3]
        for number in range(self.count):
            length = draws.integers(2 * number, self.width + 1)
            first = draws.integers(2 * number + 1, whole[self.dim] - length + 1)
            last, nothing, rest = first + length, np.zeros(len(x), np.intp), np.full(len(x), whole[1 - self.dim])
            if self.dim == 0:
                erase(x, first, last, nothing, rest, value)
            else:
                erase(x, nothing, rest, first, last, value)


class TimeMask(_Mask):
    """Frames of a spectrogram set to the mean: 0 to ``width`` of them (Park et al. 2019, SpecAugment).

    Parameters
    ----------
    width : int
        The most frames of a mask.
    count : int
        Number of masks.
    """

    name = "time-mask"

    def __init__(self, width: int = 10, count: int = 1):
        super().__init__(width, count)


class FrequencyMask(_Mask):
    """Bands of a spectrogram set to the mean: 0 to ``width`` of them (Park et al. 2019, SpecAugment).

    Parameters
    ----------
    width : int
        The most bands of a mask.
    count : int
        Number of masks.
    """

    name = "frequency-mask"
    dim = 1

    def __init__(self, width: int = 6, count: int = 1):
        super().__init__(width, count)


def erase(
    x: np.ndarray, top: np.ndarray, bottom: np.ndarray, left: np.ndarray, right: np.ndarray, value: np.ndarray
) -> None:
    """Set rows [top, bottom) and columns [left, right) of each image to ``value`` (C,), as far as they are inside."""
    height, width = x.shape[1:3]
    edges = np.stack([np.clip(top, 0, height), np.clip(bottom, 0, height), np.clip(left, 0, width), right], axis=1)
    for image, (a, b, c, d) in zip(x, edges.tolist(), strict=True):
        image[a:b, c : max(c, d)] = value


def _value(dtype: np.dtype[Any], mean: np.ndarray, fill: Fill) -> np.ndarray:
    if fill == "black":
        return np.zeros(1, dtype)
    return (np.rint(mean) if dtype.kind in "ui" else mean).astype(dtype)
