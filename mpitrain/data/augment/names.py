"""Augmentations by name: ``flip,cutout:size=8,mixup:alpha=0.2``, or ``FILE.py:FUNC`` for one of the user's own."""

import inspect
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...errors import UserError
from ...registry import Option, Registry, split_names
from ..dataset import SEGMENTATION
from ..lazy import is_lazy
from .base import Augmentation, Mixing
from .erase import Cutout, FrequencyMask, RandomErasing, TimeMask
from .function import FunctionAugmentation
from .jitter import ColorJitter
from .mix import CutMix, Mixup
from .rand_augment import RandAugment
from .resize import RandomResizedCrop
from .shift import Flip, ShiftCrop

if TYPE_CHECKING:
    from ..dataset import Dataset

Any_ = Augmentation | Mixing


class _Augmentations(Registry[Any_]):
    """Augmentations, which are classes, and users' functions of (image, rng)."""

    def options(self, function: Callable[..., Any_]) -> list[Option]:
        options = super().options(function)
        if not _is_plain(function):
            return options
        return [option for option in options[2:] if option.name != FunctionAugmentation.keyword]

    def of(self, text: str) -> Any_:
        """Return the augmentation that ``text`` selects."""
        function, name, options = self.find(text)
        if not _is_plain(function):
            return self.make(text)
        parameters = inspect.signature(function).parameters
        positional = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        if len(positional) < 2 and not any(p.kind is p.VAR_POSITIONAL for p in parameters.values()):
            raise UserError(f"{name} must take (image, rng), as every augmentation of your own does")
        self.check_given(function, name, options)
        moves = FunctionAugmentation.keyword in parameters
        return FunctionAugmentation(function, options, name, moves_pixels=moves)


def _is_plain(function: Callable[..., Any]) -> bool:
    return not (inspect.isclass(function) and issubclass(function, Augmentation | Mixing))


AUGMENTATIONS = _Augmentations(
    "augmentation",
    {
        kind.name: kind
        for kind in (
            Flip,
            ShiftCrop,
            RandomResizedCrop,
            ColorJitter,
            Cutout,
            RandomErasing,
            RandAugment,
            TimeMask,
            FrequencyMask,
            Mixup,
            CutMix,
        )
    },
    arguments=(),
)


class Step(NamedTuple):
    """An augmentation, and the words that tell its random numbers from those of others."""

    augmentation: Augmentation
    key: tuple[int, ...]


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
        Augmentations in the order of their use, separated by commas (see this module). One that mixes samples comes
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

    def steps(self) -> list[Step]:
        """Return the augmentations of single samples.

        Their random numbers depend on their names, and on their place among those of one name: others beside them
        change nothing. A flip right after a shift is done in the same pass.
        """
        steps: list[Step] = []
        seen: dict[str, int] = {}
        given = [f"shift-crop:pixels={self.crop}"] * (self.crop > 0) + ["flip"] * self.flip + split_names(self.text)
        for one in map(AUGMENTATIONS.of, given):
            if isinstance(one, Mixing):
                continue
            number = seen[one.name] = seen.get(one.name, -1) + 1
            last = steps[-1] if steps else None
            after_shift = last is not None and type(last.augmentation) is ShiftCrop and last.key == ()
            if type(one) is Flip and number == 0 and last is not None and after_shift:
                last.augmentation.flips = True  # type: ignore[attr-defined]
                continue
            steps.append(Step(one, _key(one, number)))
        return steps

    def mixing(self) -> Mixing | None:
        """Return the augmentation that mixes samples, if there is one."""
        found = [one for one in map(AUGMENTATIONS.of, split_names(self.text)) if isinstance(one, Mixing)]
        if len(found) > 1:
            raise UserError(f"--augment has {found[0].name} and {found[1].name}: samples can be mixed once only")
        return found[0] if found else None


def _key(one: Augmentation, number: int) -> tuple[int, ...]:
    """Return the words of an augmentation; a shift and a flip share the bits of one word."""
    if isinstance(one, ShiftCrop) and number == 0:
        return ()
    return zlib.crc32(one.name.rpartition(":")[2].encode()), number


def check_augment(settings: Augment, sample_shape: tuple[int, ...], dtype: Any = np.uint8) -> None:
    """Raise UserError for an unknown augmentation, or if the samples do not go with one."""
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
    if settings.text and any(category is not None for category in getattr(dataset, "categories", ())):
        raise UserError(f"--augment is for images and numbers: {dataset.name} has columns of categories")
