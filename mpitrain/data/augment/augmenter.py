"""Augmentation of batches in place."""

from typing import Any

import numpy as np

from ..rng import AUGMENT
from .draws import Draws
from .settings import Augment, check_augment


class Augmenter:
    """Augmentation of batches in place, sample by sample.

    Parameters
    ----------
    settings : Augment
    sample_shape : tuple of int
        (H, W, C).
    dtype : uint8 or a float type, or an integer type for classes of pixels
    mean : (C,) array, optional
        Means of the channels over the training samples; 0 without it.
    fill : int, optional
        Given for classes of pixels (H, W, 1): the class of those that come from outside. Only augmentations that move
        pixels are done.

    Raises
    ------
    UserError
        See ``check_augment``.
    """

    def __init__(
        self,
        settings: Augment,
        sample_shape: tuple[int, ...],
        dtype: np.dtype[Any],
        mean: np.ndarray | None = None,
        fill: int | None = None,
    ):
        if fill is None:
            check_augment(settings, sample_shape, dtype)
        self.settings, self._shape, self._fill = settings, sample_shape, fill
        self._steps = [step for step in settings.steps() if fill is None or step.augmentation.moves_pixels]
        self._mean = np.zeros(sample_shape[-1]) if mean is None else np.asarray(mean, np.float64)

    def __bool__(self) -> bool:
        return bool(self._steps)

    def __call__(self, x: np.ndarray, indices: np.ndarray, epoch: int) -> None:
        """Augment each sample of ``x`` (n, H, W, C) in place; ``indices`` (n,) are the positions in the dataset.

        Classes of pixels may be without their last dim, (n, H, W).
        """
        x = x.reshape(len(x), *self._shape)
        for augmentation, key in self._steps:
            draws = Draws(indices, self.settings.seed, AUGMENT, epoch, *key)
            if self._fill is None:
                augmentation.images(x, draws, self._mean)
            else:
                augmentation.classes(x, draws, self._fill)
