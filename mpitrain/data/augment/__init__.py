"""Augmentation of samples that depends on (seed, epoch, sample) only, never on the rank or the batch.

``names`` lists the augmentations, ``augmenter`` applies them to batches, ``mixer`` mixes pairs of a global batch.
"""

from typing import TYPE_CHECKING

from ...later import import_later
from .settings import Augment, check_augment, check_dataset

if TYPE_CHECKING:
    from .augmenter import Augmenter
    from .base import Augmentation, Mixing
    from .draws import Draws
    from .mixer import Mixer
    from .names import AUGMENTATIONS

__all__ = [
    "AUGMENTATIONS",
    "Augment",
    "Augmentation",
    "Augmenter",
    "Draws",
    "Mixer",
    "Mixing",
    "check_augment",
    "check_dataset",
]

__getattr__ = import_later(
    __name__,
    {
        "augmenter": "Augmenter",
        "base": "Augmentation Mixing",
        "draws": "Draws",
        "mixer": "Mixer",
        "names": "AUGMENTATIONS",
    },
)
