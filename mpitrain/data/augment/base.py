"""The contract of augmentations: batches changed in place, by random numbers that belong to the samples.

Shapes: n samples; H, W, C height, width and channels of an image.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ...errors import UserError
from .draws import Draws


class Augmentation(ABC):
    """Change of images, one by one.

    Attributes
    ----------
    name : str
        As it is written, for messages.
    moves_pixels : bool
        Whether pixels change their places: then classes of pixels, the targets of segmentation, move along.
    """

    name: ClassVar[str]
    moves_pixels: ClassVar[bool] = False

    def check(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Raise UserError if samples of this shape and type cannot be changed."""
        check_images(self.name, shape)

    @abstractmethod
    def images(self, x: np.ndarray, draws: Draws, mean: np.ndarray) -> None:
        """Change images in place.

        Parameters
        ----------
        x : (n, H, W, C) array, C-contiguous
            As in the dataset, before normalization.
        mean : (C,) array of float64
            Means of the channels over the training samples, which normalization turns into 0.
        """

    def classes(self, y: np.ndarray, draws: Draws, fill: int) -> None:
        """Move the classes of pixels (n, H, W, 1) in place as ``images`` moves pixels; ``fill`` comes from outside.

        Only called where ``moves_pixels``.
        """
        raise NotImplementedError  # those with ``moves_pixels`` override it, and no other is asked: see above


class Pairs(NamedTuple):
    """The samples that those of a batch are mixed with.

    Attributes
    ----------
    partners : (n,) array of int64
        Places in the split.
    shares : (n,) array of float32
        What is left of a sample; its partner has the rest.
    boxes : (n, 4) array of int, or None
        Rectangles [top, bottom) x [left, right) that come from the partner; None blends all values.
    """

    partners: np.ndarray
    shares: np.ndarray
    boxes: np.ndarray | None = None


class Mixing(ABC):
    """Mixture of each sample of a global batch with another one of it, and of their targets.

    Attributes
    ----------
    name : str
    pastes : bool
        Whether parts are pasted, and values stay as they are: then classes of pixels can be mixed, too.
    """

    name: ClassVar[str]
    pastes: ClassVar[bool] = False

    @abstractmethod
    def check(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Raise UserError if samples of this shape and type cannot be mixed."""

    @abstractmethod
    def shares(self, draws: Draws, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the shares and boxes of ``Pairs`` for samples of this shape."""


def check_images(name: str, shape: tuple[int, ...]) -> None:
    """Raise UserError if samples are no images."""
    if len(shape) != 3:
        raise UserError(f"{name} needs images of shape (H, W, C), and these samples are {shape}")


def check_range(name: str, key: str, value: float, low: float, high: float) -> None:
    """Raise UserError if an option is out of its range."""
    if not low <= value <= high:
        least, most = f"{low:g}", f"{high:g}"
        wanted = f"{least} or more" if high == float("inf") else f"from {least} to {most}"
        raise UserError(f"the augmentation '{name}': {key} is {value:g}, but must be {wanted}")
