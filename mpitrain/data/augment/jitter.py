"""Random brightness, contrast, saturation and hue."""

from typing import Any

import numpy as np

from . import color
from .base import Augmentation, check_range
from .draws import Draws


class ColorJitter(Augmentation):
    """Brightness, contrast, saturation and hue changed at random, in a random order for each image.

    Parameters
    ----------
    brightness, contrast, saturation : float
        Each factor is drawn from [max(0, 1 - value), 1 + value].
    hue : float
        The hue turns by up to this part of a whole turn, in both directions; at most 0.5.
    """

    name = "color-jitter"

    def __init__(self, brightness: float = 0.4, contrast: float = 0.4, saturation: float = 0.4, hue: float = 0.0):
        self._factors = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
        for key, value in self._factors.items():
            check_range(self.name, key, value, 0, 100)
        check_range(self.name, "hue", hue, 0, 0.5)
        self._hue = hue

    def check(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Raise UserError if samples are no images of bytes in gray or RGB."""
        color.check_colors(self.name, shape, dtype)

    def images(self, x: np.ndarray, draws: Draws, mean: np.ndarray) -> None:
        """Change the colors of images."""
        ops = (color.brightness, color.contrast, color.color, color.hue)
        order = np.argsort([draws.bits(10 + i) for i in range(len(ops))], axis=0)  # (4, n): the op in each place
        values = [draws.uniform(i, max(0.0, 1 - f), 1 + f) for i, f in enumerate(self._factors.values())]
        values.append(draws.uniform(len(values), -self._hue, self._hue))
        used = [*(f > 0 for f in self._factors.values()), self._hue > 0]
        for place in order:
            for number, op in enumerate(ops):
                some = np.flatnonzero(place == number)
                if used[number] and some.size:
                    images = x[some]
                    op(images, values[number][some])
                    x[some] = images
