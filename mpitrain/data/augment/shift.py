"""Random shifts and flips, in one pass over the pixels.

Shapes: n samples of a batch; H, W, C height, width and channels of an image; p pixels of padding.

The padding is zero and is added before normalization, while pixels are still bytes: zero is then black, the
background of handwritten digits, and a quarter of the memory is moved. Classes of pixels move as the pixels do, and
those of the padding have no label.
"""

from typing import Any

import numpy as np

from ...errors import UserError
from .base import Augmentation, check_range
from .draws import Draws

_FIELD = 21  # bits of a random word that one offset uses


class ShiftCrop(Augmentation):
    """Shift by up to ``pixels`` in each direction: the image is padded with zeros and cropped to its size.

    Parameters
    ----------
    pixels : int
    """

    name = "shift-crop"
    moves_pixels = True

    def __init__(self, pixels: int = 4):
        check_range(self.name, "pixels", pixels, 0, float("inf"))
        self.pixels, self.flips = pixels, False

    def check(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Raise UserError if the samples are not images, or smaller than the shift."""
        if len(shape) != 3:
            raise UserError(f"crops and flips need images of shape (H, W, C), and these samples are {shape}")
        height, width, _ = shape
        most = min(height, width) - 1
        if self.pixels > most:
            raise UserError(f"a crop of {self.pixels} shifts images of {height} x {width} out of sight: at most {most}")

    def images(self, x: np.ndarray, draws: Draws, mean: np.ndarray) -> None:
        """Shift images; zeros come from outside."""
        self.move(x, draws, 0)

    def classes(self, y: np.ndarray, draws: Draws, fill: int) -> None:
        """Shift classes of pixels."""
        self.move(y, draws, fill)

    def move(self, x: np.ndarray, draws: Draws, fill: int) -> None:
        """Shift and mirror (n, H, W, C) in place."""
        n, height, width, channels = x.shape
        p = self.pixels
        padded = np.full((n, height + 2 * p, width + 2 * p, channels), fill, x.dtype)
        padded[:, p : p + height, p : p + width] = x
        down, right, mirrored = self.draw(draws)
        rows = down[:, None] + np.arange(height)  # (n, H), of the padded image
        columns = np.arange(width)
        columns = right[:, None] + np.where(mirrored[:, None], columns[::-1], columns)  # (n, W)
        rows += np.arange(n)[:, None] * padded.shape[1]
        rows *= padded.shape[2]
        pixels = rows[:, :, None] + columns[:, None, :]
        np.take(padded.reshape(-1, channels), pixels, axis=0, out=x, mode="clip")

    def draw(self, draws: Draws) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return, for each sample, the corner of its crop in the padded image and whether it is mirrored."""
        bits = draws.bits()
        mask, span = np.uint64((1 << _FIELD) - 1), np.uint64(2 * self.pixels + 1)
        down = (bits & mask) * span >> np.uint64(_FIELD)
        right = (bits >> np.uint64(_FIELD) & mask) * span >> np.uint64(_FIELD)
        mirrored = (bits >> np.uint64(63)).astype(bool) & self.flips
        return down.astype(np.intp), right.astype(np.intp), mirrored


class Flip(ShiftCrop):
    """Mirror half of the images left to right."""

    name = "flip"

    def __init__(self) -> None:
        super().__init__(0)
        self.flips = True
