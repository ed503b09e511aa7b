"""Files of a source of sounds, and the features that they become."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from ...errors import UserError
from ..cache import Cache
from ..media.form import Facts, Form, Medium
from ..media.parts import MediaParts, find_parts
from .features import LogMel, fit_length
from .options import AudioOptions, parse_audio_source
from .resample import resample
from .waveform import SUFFIXES, read_waveform

AUDIO = Medium("audio", "sound", SUFFIXES, Cache("audio", "features of sounds"))
VERSION = 1  # of the features: another one computes them anew


@dataclass(frozen=True)
class Spectrogram(Form):
    """Log-mel features (T, M, 1) of sounds, float32.

    Attributes
    ----------
    rate : int
    seconds : float
    mels : int
    window, hop : float
        Milliseconds.
    """

    medium = AUDIO
    dtype = np.dtype(np.float32)

    rate: int
    seconds: float
    mels: int
    window: float
    hop: float

    @cached_property
    def log_mel(self) -> LogMel:
        """The features of samples; lengths are rounded to whole samples."""
        lengths = (self.seconds, self.window / 1000, self.hop / 1000)
        samples, window, hop = (max(1, round(length * self.rate)) for length in lengths)
        return LogMel(self.rate, samples, window, hop, self.mels)

    @property
    def dims(self) -> tuple[int, int, int]:
        """(T, M, 1)."""
        return self.log_mel.num_frames, self.mels, 1

    def facts(self) -> tuple[object, ...]:
        """Return the options and the version of the features."""
        return VERSION, self

    def decode(self, path: str) -> tuple[np.ndarray, Facts]:
        """Return the features of a file, and facts about it."""
        sound = read_waveform(path)
        samples = fit_length(resample(sound.samples, sound.rate, self.rate), self.log_mel.num_samples)
        facts = Facts(sound.kind, {"rate": sound.rate, "seconds": len(sound.samples) / sound.rate})
        return self.log_mel(samples)[:, :, None].astype(np.float32), facts

    def notes(self, ranges: Mapping[str, tuple[float, float]], where: str) -> Iterator[str]:
        """Yield sentences about sounds that are longer, or of a lower rate."""
        longest, lowest = ranges["seconds"][1], ranges["rate"][0]
        if longest > self.seconds * 1.001:
            yield f"{where}: sounds of up to {longest:.3g} s; of longer ones than seconds={self.seconds:g}, the middle"
        if lowest < self.rate:
            bare = f"have nothing above {lowest / 2:,.0f} Hz, where bands stay empty: rate={lowest:.0f}"
            yield f"{where}: sounds of {lowest:,.0f} samples a second {bare}"


def audio_parts(place: str) -> MediaParts:
    """Return the files of ``audio:place``; raises UserError as ``media.parts.find_parts``."""
    name, options = parse_audio_source(place)
    form = spectrogram(options)
    return find_parts(AUDIO, name, options, partial(_same, form))


def spectrogram(options: AudioOptions) -> Spectrogram:
    """Return the features of the options.

    Raises
    ------
    UserError
        If a band holds no frequency.
    """
    form = Spectrogram(options.rate, options.seconds, options.mels, options.window, options.hop)
    empty = form.log_mel.empty_bands()
    if empty:
        raise UserError(
            f"audio: {empty} of mels={options.mels} bands would hold no frequency at window={options.window:g} "
            "milliseconds: take fewer bands or a longer window"
        )
    return form


def _same(form: Form, first: str) -> Form:
    return form
