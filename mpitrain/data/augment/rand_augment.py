"""RandAugment: a few operations of one strength, drawn for each image (Cubuk et al. 2020, arXiv 1909.13719).

Shapes: x (n, H, W, C); strength s in [0, 1]; signs -1 or 1 (n,).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from . import affine, color
from .base import Augmentation, check_range
from .draws import Draws

Matrices = Callable[[float, np.ndarray, tuple[int, int]], np.ndarray]
Colors = Callable[[np.ndarray, float, np.ndarray], None]

MAGNITUDES = 30
TRANSLATION = 150 / 331  # of the size, as on ImageNet in AutoAugment

GEOMETRIC: dict[str, Matrices] = {
    "shear-x": lambda s, signs, size: affine.shear(0.3 * s * signs, 0 * signs, size),
    "shear-y": lambda s, signs, size: affine.shear(0 * signs, 0.3 * s * signs, size),
    "translate-x": lambda s, signs, size: affine.translation(np.trunc(TRANSLATION * size[1] * s) * signs, 0 * signs),
    "translate-y": lambda s, signs, size: affine.translation(0 * signs, np.trunc(TRANSLATION * size[0] * s) * signs),
    "rotate": lambda s, signs, size: affine.rotation(30 * s * signs, size),
}
"""Matrices by strength, signs (n,) and size (H, W), with the ranges of torchvision."""

COLORS: dict[str, Colors] = {
    "identity": lambda x, s, signs: None,
    "brightness": lambda x, s, signs: color.brightness(x, 1 + 0.9 * s * signs),
    "color": lambda x, s, signs: color.color(x, 1 + 0.9 * s * signs),
    "contrast": lambda x, s, signs: color.contrast(x, 1 + 0.9 * s * signs),
    "sharpness": lambda x, s, signs: color.sharpness(x, 1 + 0.9 * s * signs),
    "posterize": lambda x, s, signs: color.posterize(x, np.full(len(x), 8 - round(4 * s))),
    "solarize": lambda x, s, signs: color.solarize(x, np.full(len(x), 255 * (1 - s))),
    "autocontrast": lambda x, s, signs: color.autocontrast(x),
    "equalize": lambda x, s, signs: color.equalize(x),
}

OPS = [*COLORS, *GEOMETRIC]


class RandAugment(Augmentation):
    """``n`` of 14 operations on each image, drawn evenly with repetition, all of one magnitude.

    Parameters
    ----------
    n : int
    magnitude : float
        From 0 to 30, the strongest.

    Notes
    -----
    The operations and their ranges are those of torchvision. Moved pixels are interpolated bilinearly, and 0 comes
    from outside.
    """

    name = "rand-augment"
    moves_pixels = True

    def __init__(self, n: int = 2, magnitude: float = 9.0):
        check_range(self.name, "n", n, 0, 100)
        check_range(self.name, "magnitude", magnitude, 0, MAGNITUDES)
        self.n, self.strength = n, magnitude / MAGNITUDES

    def check(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Raise UserError if samples are no images of bytes in gray or RGB."""
        color.check_colors(self.name, shape, dtype)

    def images(self, x: np.ndarray, draws: Draws, mean: np.ndarray) -> None:
        """Change images."""
        for step in range(self.n):
            chosen, signs = self._draw(draws.part(step))
            for number, name in enumerate(OPS):
                some = np.flatnonzero(chosen == number)
                if some.size and name != "identity":
                    images = x[some]
                    if name in COLORS:
                        COLORS[name](images, self.strength, signs[some])
                    else:
                        affine.transform(images, self._matrices(name, signs[some], x), 0)
                    x[some] = images

    def classes(self, y: np.ndarray, draws: Draws, fill: int) -> None:
        """Move classes of pixels by those operations that move pixels."""
        for step in range(self.n):
            chosen, signs = self._draw(draws.part(step))
            for name in GEOMETRIC:
                some = np.flatnonzero(chosen == OPS.index(name))
                if some.size:
                    classes = y[some]
                    affine.transform_classes(classes, self._matrices(name, signs[some], y), fill)
                    y[some] = classes

    def _draw(self, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        return draws.integers(0, len(OPS)), draws.signs(1)

    def _matrices(self, name: str, signs: np.ndarray, x: np.ndarray) -> np.ndarray:
        return GEOMETRIC[name](self.strength, signs, (x.shape[1], x.shape[2]))
