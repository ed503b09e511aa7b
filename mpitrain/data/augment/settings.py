"""Settings of augmentation, which are there before the augmentations themselves are imported."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UserError
from ...registry import split_names
from ..dataset import SEGMENTATION
from ..lazy import is_lazy

if TYPE_CHECKING:
    from ..dataset import Dataset
    from .base import Mixing
    from .names import Step


@dataclass(frozen=True)
class Augment:
    """Settings of augmentation.

    Attributes
    ----------
    seed : int
    crop : int
        Largest shift in pixels in each direction; like ``shift-crop:pixels=CROP`` before ``text``.
    flip : bool
        Whether half of the images are mirrored left to right; like ``flip`` before ``text``.
    text : str
        Augmentations in the order of their use, separated by commas (see ``names``). One that mixes samples comes
        after all others, wherever it stands.
    num_classes : int
        For mixed targets of classification; 0 for other tasks.
    """

    seed: int
    crop: int = 0
    flip: bool = False
    text: str = ""
    num_classes: int = 0

    def __bool__(self) -> bool:
        return self.crop > 0 or self.flip or bool(self.text)

    def steps(self) -> "list[Step]":
        """Return the augmentations of single samples; see ``names.steps_of``."""
        from .names import steps_of

        first = [f"shift-crop:pixels={self.crop}"] * (self.crop > 0) + ["flip"] * self.flip
        return steps_of([*first, *split_names(self.text)])

    def mixing(self) -> "Mixing | None":
        """Return the augmentation that mixes samples, if there is one."""
        from .names import mixing_of

        return mixing_of(split_names(self.text))


def check_augment(settings: Augment, sample_shape: tuple[int, ...], dtype: Any = np.uint8) -> None:
    """Raise UserError for an unknown augmentation, or if the samples do not go with one."""
    if not settings:
        return
    for step in settings.steps():
        step.augmentation.check(sample_shape, np.dtype(dtype))
    mixing = settings.mixing()
    if mixing is not None:
        mixing.check(sample_shape, np.dtype(dtype))


def check_dataset(settings: Augment, dataset: "Dataset") -> None:
    """Raise UserError if the samples or the targets of a dataset do not go with an augmentation."""
    if not settings:
        return
    x, mixing = dataset.train.x, settings.mixing()
    if is_lazy(x) and settings.text:
        raise UserError(f"--augment is for images and numbers: the samples of {dataset.name} are tokens")
    check_augment(settings, dataset.input_shape, x.dtype)
    if mixing is not None and dataset.task == SEGMENTATION and not mixing.pastes:
        raise UserError(f"{mixing.name} does not go with segmentation, whose pixels have one class each: cutmix does")
    if settings.text and any(category is not None for category in dataset.categories):
        raise UserError(f"--augment is for images and numbers: {dataset.name} has columns of categories")
