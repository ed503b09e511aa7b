"""Sounds: folders of classes or tables of labels, whose log-mel features are computed once into a file that all map."""

from typing import TYPE_CHECKING

from ...later import import_later
from .options import KEYS, AudioOptions, parse_audio_source

if TYPE_CHECKING:
    from .parts import audio_parts
    from .report import describe_audio

__all__ = ["KEYS", "AudioOptions", "audio_parts", "describe_audio", "parse_audio_source"]

__getattr__ = import_later(__name__, {"parts": "audio_parts", "report": "describe_audio"})
