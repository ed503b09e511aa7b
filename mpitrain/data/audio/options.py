"""The options of ``audio:DIR,rate=16000,seconds=1,...``; more in ``KEYS``."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ...errors import UserError
from ..media.form import MediaOptions
from ..source_options import check_place, given_once, one_of, split_options, whole_number

KEYS = {
    "rate": "samples per second that all sounds are resampled to (16000)",
    "seconds": "length of all sounds: the middle of longer ones, silence on both sides of shorter ones (1)",
    "mels": "bands of the log-mel features (40)",
    "window": "milliseconds of a frame (25)",
    "hop": "milliseconds from one frame to the next (10)",
    "bad": "stop at files that cannot be decoded (the default), or skip them",
    "labels": "csv file that names the files and their classes or values, in place of folders of classes",
    "target": "its column to predict, or several (by default the only one beside that of the files)",
    "test": "folder, or csv file where labels= is given, of the test sounds",
}
"""The options and their meaning."""


@dataclass(frozen=True)
class AudioOptions(MediaOptions):
    """Options of a source of sounds; see ``KEYS``.

    Attributes
    ----------
    rate : int
        Samples per second.
    seconds : float
    mels : int
    window, hop : float
        Milliseconds.
    """

    rate: int = 16000
    seconds: float = 1.0
    mels: int = 40
    window: float = 25.0
    hop: float = 10.0


def parse_audio_source(text: str) -> tuple[str, AudioOptions]:
    """Split what follows ``audio:`` into the path and the options.

    Raises
    ------
    UserError
        If an option is unknown, given twice, or has a value that it cannot have.

    >>> parse_audio_source("digits,rate=8000,mels=32")[1].rate
    8000
    """
    place, given = split_options(text, KEYS)
    if not place:
        raise UserError("audio: say which directory, as in audio:DIR")
    check_place("audio", place, KEYS)
    one = given_once("audio", text, given)
    options = AudioOptions(
        rate=whole_number("audio", one, "rate", 16000, 1000, 200_000),
        seconds=_number(one, "seconds", 1.0, 600.0),
        mels=whole_number("audio", one, "mels", 40, 1, 512),
        window=_number(one, "window", 25.0, 1000.0),
        hop=_number(one, "hop", 10.0, 1000.0),
        skips_bad=one_of("audio", one, "bad", ("stop", "skip")) == "skip",
        **{key: one.get(key, "") for key in ("labels", "target", "test")},
    )
    if options.window > 1000 * options.seconds:
        raise UserError(f"audio: window={options.window:g} milliseconds is longer than seconds={options.seconds:g}")
    if options.target and not options.labels:
        raise UserError("audio: target= is a column of the csv file labels=, which is not given")
    return place, options


def _number(given: Mapping[str, str], key: str, default: float, most: float) -> float:
    """Return the value of an option as a positive number; raises UserError for another value."""
    text = given.get(key)
    if text is None:
        return default
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found <= most:
        raise UserError(f"audio: {key}={text} must be a number above 0, up to {most:g}")
    return found
