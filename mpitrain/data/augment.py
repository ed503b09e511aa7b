"""Random crops and flips that depend on (seed, epoch, sample) only, never on the rank or the batch.

Shapes: n samples of a batch; H, W, C height, width and channels of an image; p pixels of padding.

The padding is zero and is added before normalization, while pixels are still bytes: zero is then black, the
background of handwritten digits, and a quarter of the memory is moved. Classes of pixels move as the pixels do, and
those of the padding have no label.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from .rng import AUGMENT, random_bits

_FIELD = 21  # bits of a random word that one offset uses


@dataclass(frozen=True)
class Augment:
    """Settings of image augmentation.

    Attributes
    ----------
    seed : int
    crop : int
        Largest shift in pixels in each direction: an image is padded by it and cropped to its size.
    flip : bool
        Whether half of the images are mirrored left to right.
    """

    seed: int
    crop: int = 0
    flip: bool = False

    def __bool__(self) -> bool:
        return self.crop > 0 or self.flip


def check_augment(settings: Augment, sample_shape: tuple[int, ...]) -> None:
    """Raise UserError if the samples are not images, or smaller than the shift."""
    if not settings:
        return
    if len(sample_shape) != 3:
        raise UserError(f"crops and flips need images of shape (H, W, C), and these samples are {sample_shape}")
    height, width, _ = sample_shape
    most = min(height, width) - 1
    if settings.crop > most:
        raise UserError(f"a crop of {settings.crop} shifts images of {height} x {width} out of sight: at most {most}")


class Augmenter:
    """Augmentation of batches in place, with memory allocated once.

    Parameters
    ----------
    settings : Augment
    capacity : int
        The most samples of one call.
    sample_shape : tuple of int
        (H, W, C).
    dtype : uint8 or float32, or an integer for classes of pixels
    fill : int
        Value of the padding.

    Raises
    ------
    UserError
        See ``check_augment``.
    """

    def __init__(self, settings: Augment, capacity: int, sample_shape: tuple[int, ...], dtype: np.dtype, fill: int = 0):
        check_augment(settings, sample_shape)
        height, width, channels = sample_shape
        self.settings = settings
        self.size, self._fill = (height, width), fill
        p = settings.crop
        self._padded = np.zeros((0, height + 2 * p, width + 2 * p, channels), dtype)
        self.reserve(capacity)

    def reserve(self, capacity: int) -> None:
        """Have memory for ``capacity`` samples of one call."""
        if capacity > len(self._padded):
            self._padded = np.full((capacity, *self._padded.shape[1:]), self._fill, self._padded.dtype)
            self._pixels = np.empty((capacity, *self.size), np.intp)

    def __call__(self, x: np.ndarray, indices: np.ndarray, epoch: int) -> None:
        """Augment each image of ``x`` (n, H, W, C) in place; ``indices`` (n,) are the positions in the dataset.

        Without a last dim, ``x`` (n, H, W) has one channel.
        """
        height, width = self.size
        p, n = self.settings.crop, len(x)
        x = x.reshape(n, height, width, self._padded.shape[3])
        self._padded[:n, p : p + height, p : p + width] = x
        down, right, mirrored = self._draw(indices, epoch)
        rows = down[:, None] + np.arange(height)  # (n, H), of the padded image
        columns = np.arange(width)
        columns = right[:, None] + np.where(mirrored[:, None], columns[::-1], columns)  # (n, W)
        padded_height, padded_width = self._padded.shape[1:3]
        rows += np.arange(n)[:, None] * padded_height
        rows *= padded_width
        np.add(rows[:, :, None], columns[:, None, :], out=self._pixels[:n])
        source = self._padded.reshape(-1, self._padded.shape[3])
        np.take(source, self._pixels[:n], axis=0, out=x, mode="clip")

    def _draw(self, indices: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return, for each sample, the corner of its crop in the padded image and whether it is mirrored."""
        bits = random_bits(indices, self.settings.seed, AUGMENT, epoch)
        mask, span = np.uint64((1 << _FIELD) - 1), np.uint64(2 * self.settings.crop + 1)
        down = (bits & mask) * span >> np.uint64(_FIELD)
        right = (bits >> np.uint64(_FIELD) & mask) * span >> np.uint64(_FIELD)
        mirrored = (bits >> np.uint64(63)).astype(bool) & self.settings.flip
        return down.astype(np.intp), right.astype(np.intp), mirrored
