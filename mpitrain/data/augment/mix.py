"""Mixtures of two samples: mixup and cutmix.

Shapes: n samples; H, W, C height, width and channels of an image.
"""

from typing import Any

import numpy as np

from .base import Mixing, check_images, check_range
from .draws import Draws

_POINTS = 4097  # of the table of a distribution function


class Mixup(Mixing):
    """Weighted means of two samples and of their targets (Zhang et al. 2018, arXiv 1710.09412).

    Parameters
    ----------
    alpha : float
        The share of a sample is drawn from Beta(alpha, alpha): near 0 or 1 for a small alpha, uniform for 1.
    share : float
        Share of the samples that are mixed.
    """

    name = "mixup"

    def __init__(self, alpha: float = 0.2, share: float = 1.0):
        check_range(self.name, "alpha", alpha, 0.01, 1000)
        check_range(self.name, "share", share, 0, 1)
        self.alpha, self.share = alpha, share
        self._beta = Beta(alpha)

    def check(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Do nothing: numbers of any shape have means."""

    def shares(self, draws: Draws, shape: tuple[int, ...]) -> tuple[np.ndarray, None]:
        """Return the shares (n,); all values are blended."""
        shares = np.where(draws.chance(1, self.share), self._beta(draws.uniform(0)), 1.0)
        return shares.astype(np.float32), None


class CutMix(Mixing):
    """A rectangle of another image pasted at its place, and targets mixed by area (Yun et al. 2019, arXiv 1905.04899).

    Parameters
    ----------
    alpha : float
        The share of the area that stays is drawn from Beta(alpha, alpha), before the rectangle is cut off at the edges.
    share : float
        Share of the samples that are mixed.
    """

    name = "cutmix"
    pastes = True

    def __init__(self, alpha: float = 1.0, share: float = 1.0):
        check_range(self.name, "alpha", alpha, 0.01, 1000)
        check_range(self.name, "share", share, 0, 1)
        self.alpha, self.share = alpha, share
        self._beta = Beta(alpha)

    def check(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Raise UserError if the samples are no images."""
        check_images(self.name, shape)

    def shares(self, draws: Draws, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Return the shares (n,), by the area that is left, and the rectangles (n, 4)."""
        height, width = shape[:2]
        kept = np.where(draws.chance(1, self.share), self._beta(draws.uniform(0)), 1.0)
        side = np.sqrt(1 - kept)
        rows, columns = (_interval(draws.integers(2 + i, size), side * size, size) for i, size in enumerate(shape[:2]))
        boxes = np.stack([*rows, *columns], axis=1)
        area = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])
        return (1 - area / (height * width)).astype(np.float32), boxes


def _interval(center: np.ndarray, length: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    length = length.astype(np.intp)
    first = center - length // 2
    return np.clip(first, 0, size), np.clip(first + length, 0, size)


class Beta:
    """Numbers distributed as Beta(alpha, alpha) from uniform ones: the inverse of the distribution function.

    The function is tabulated on the lower half, by the trapezoid rule, over s = x^min(1, alpha), where its density is
    bounded: x^(alpha - 1) dx = s^... ds. Interpolation is linear; the error is below 1e-4 in x.

    >>> Beta(1.0)(np.array([0.0, 0.25, 0.75])).round(6).tolist()
    [0.0, 0.25, 0.75]
    """

    def __init__(self, alpha: float):
        self._power = min(1.0, alpha)
        self._points = np.linspace(0, 0.5**self._power, _POINTS)
        x = self._points ** (1 / self._power)
        density = (1 - x) ** (alpha - 1) * (1.0 if alpha <= 1 else x ** (alpha - 1))
        steps = np.append(0.0, np.cumsum(density[1:] + density[:-1]))
        self._below = 0.5 * steps / steps[-1]

    def __call__(self, uniform: np.ndarray) -> np.ndarray:
        """Return (n,) numbers from [0, 1] for uniform ones (n,) from [0, 1)."""
        lower = np.minimum(uniform, 1 - uniform)
        x = np.interp(lower, self._below, self._points) ** (1 / self._power)
        found: np.ndarray = np.where(uniform < 0.5, x, 1 - x)
        return found
