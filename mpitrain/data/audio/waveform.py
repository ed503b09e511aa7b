"""Sound files as numbers: WAV by the standard library, all else by soundfile, an extra of the package (``audio``).

Shapes: N samples of one channel.
"""

import wave
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import UserError
from ..files import one_line
from ..media.form import Undecodable

SUFFIXES = frozenset({".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au"})
_STREAMED = 0x7FFF0000  # bytes from which on the length in a header is that of a stream, which was not known
_BY_STANDARD_LIBRARY = (".wav", ".wave")


@dataclass(frozen=True)
class Waveform:
    """A sound.

    Attributes
    ----------
    samples : (N,) array of float64
        From -1 to 1; the mean of the channels.
    rate : int
        Samples per second.
    kind : str
        As in "WAV 16 bits mono".
    """

    samples: np.ndarray
    rate: int
    kind: str


def read_waveform(path: str) -> Waveform:
    """Return a sound.

    Raises
    ------
    Undecodable
        If the file is damaged, cut off or empty, or holds numbers that are not finite.
    UserError
        If it cannot be opened, or soundfile is needed and not installed.
    """
    found = _read(path)
    if not found.samples.size:
        raise Undecodable("it holds no samples")
    if not np.isfinite(found.samples).all():
        raise Undecodable("it holds numbers that are not finite")
    return found


def _read(path: str) -> Waveform:
    try:
        with open(path, "rb") as file:
            if file.read(4) == b"RIFF":
                file.seek(0)
                found = _read_wave(file)
                if found is not None:
                    return found
            elif path.lower().endswith(_BY_STANDARD_LIBRARY):
                raise Undecodable("no WAV file: it does not begin with RIFF")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    return _by_soundfile(path)


def _read_wave(file: Any) -> Waveform | None:
    """Return a sound of whole numbers; None for other contents of a WAV file, such as floats."""
    try:
        with wave.open(file) as sound:
            channels, width, rate, promised = sound.getparams()[:4]
            data = sound.readframes(promised)
    except wave.Error as error:
        if "unknown format" in str(error):
            return None
        raise Undecodable(one_line(error)) from None
    except EOFError:
        raise Undecodable("it is cut off in its header") from None
    if len(data) < promised * channels * width < _STREAMED:
        raise _cut_off(promised, len(data) // (channels * width))
    if width not in (1, 2, 3, 4) or rate < 1:
        raise Undecodable(f"its samples have {8 * width} bits, {rate} a second")
    samples = _whole_numbers(data, width).reshape(-1, channels).mean(axis=1)
    return Waveform(samples, rate, _kind("WAV", f"{8 * width} bits", channels))


def _whole_numbers(data: bytes, width: int) -> np.ndarray:
    """Return samples of ``width`` bytes, little-endian, as float64 from -1 to 1; single bytes count from 128."""
    raw = np.frombuffer(data, np.uint8)
    if width == 1:
        return (raw - 128.0) / 128
    wide = np.zeros((len(raw) // width, 4), np.uint8)
    wide[:, 4 - width :] = raw.reshape(-1, width)
    found: np.ndarray = wide.view("<i4")[:, 0] / 2.0**31
    return found


def _by_soundfile(path: str) -> Waveform:
    soundfile = import_soundfile(path)
    try:
        with soundfile.SoundFile(path) as sound:
            promised, rate, channels = sound.frames, sound.samplerate, sound.channels
            kind = _kind(sound.format, sound.subtype.replace("_", " "), channels)
            samples = sound.read(dtype="float64", always_2d=True)
    except soundfile.SoundFileError as error:
        text = one_line(error)
        raise Undecodable(text.rpartition(": ")[2] or text) from None
    if len(samples) < promised:
        raise _cut_off(promised, len(samples))
    return Waveform(samples.mean(axis=1), rate, kind)


def import_soundfile(path: str) -> Any:
    """Return the module ``soundfile``.

    Raises
    ------
    UserError
        If it is not installed.
    """
    try:
        import soundfile
    except ImportError:
        raise UserError(
            f"{path} needs soundfile, which is not installed: pip install 'mpitrain[audio]' (only WAV files of whole "
            "numbers do without it)"
        ) from None
    return soundfile


def _cut_off(promised: int, found: int) -> Undecodable:
    return Undecodable(f"it is cut off: {promised:,} samples are promised, and {found:,} there")


def _kind(name: str, samples: str, channels: int) -> str:
    return f"{name} {samples} {'mono' if channels == 1 else 'stereo' if channels == 2 else f'{channels} channels'}"
