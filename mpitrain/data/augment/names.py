"""Augmentations by name: ``flip,cutout:size=8,mixup:alpha=0.2``, or ``FILE.py:FUNC`` for one of the user's own."""

import inspect
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...errors import UserError
from ...registry import Option, Registry
from .base import Augmentation, Mixing
from .erase import Cutout, FrequencyMask, RandomErasing, TimeMask
from .function import FunctionAugmentation
from .jitter import ColorJitter
from .mix import CutMix, Mixup
from .rand_augment import RandAugment
from .resize import RandomResizedCrop
from .shift import Flip, ShiftCrop

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


def steps_of(names: Sequence[str]) -> list[Step]:
    """Return the augmentations of single samples.

    Their random numbers depend on their names, and on their place among those of one name: others beside them change
    nothing. A flip right after a shift is done in the same pass.
    """
    steps: list[Step] = []
    seen: dict[str, int] = {}
    for one in map(AUGMENTATIONS.of, names):
        if isinstance(one, Mixing):
            continue
        number = seen[one.name] = seen.get(one.name, -1) + 1
        last = steps[-1] if steps else Step(one, (0,))
        if type(one) is Flip and number == 0 and type(last.augmentation) is ShiftCrop and last.key == ():
            last.augmentation.flips = True
        else:
            steps.append(Step(one, _key(one, number)))
    return steps


def mixing_of(names: Sequence[str]) -> Mixing | None:
    """Return the augmentation that mixes samples, if there is one."""
    found = [one for one in map(AUGMENTATIONS.of, names) if isinstance(one, Mixing)]
    if len(found) > 1:
        raise UserError(f"--augment has {found[0].name} and {found[1].name}: samples can be mixed once only")
    return found[0] if found else None


def _key(one: Augmentation, number: int) -> tuple[int, ...]:
    """Return the words of an augmentation; a shift and a flip share the bits of one word."""
    if isinstance(one, ShiftCrop) and number == 0:
        return ()
    return zlib.crc32(one.name.rpartition(":")[2].encode()), number
