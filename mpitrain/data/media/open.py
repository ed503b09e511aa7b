"""Sources of files by their kinds, each imported when it is used."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .parts import MediaParts

if TYPE_CHECKING:
    from .store import DecodingUnit


def open_parts(kind: str, place: str) -> MediaParts:
    """Return the files of ``kind:place``; raises UserError as ``parts.find_parts``."""
    if kind == "images":
        from ..images.parts import image_parts

        return image_parts(place)
    from ..audio.parts import audio_parts

    return audio_parts(place)


def units_of_media(kind: str, place: str) -> "Sequence[DecodingUnit]":
    """Return the work to do before ``kind:place`` is opened, which ranks may share."""
    return [unit for store in open_parts(kind, place).stores().values() for unit in store.units()]
