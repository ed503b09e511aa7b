"""Sound files of requests, as features for the model.

Shapes: T frames, M bands.
"""

import tempfile

import numpy as np

from ..data.audio import parse_audio_source
from ..data.audio.parts import Spectrogram
from ..data.matching.signature import Signature
from ..data.media.form import Undecodable
from ..data.sources import parse_source
from .refusal import Refusal


def takes_sounds(signature: Signature) -> bool:
    """Return whether a model was trained on sound files."""
    return bool(signature.source) and parse_source(signature.source)[0] == "audio"


class SoundReader:
    """Reader of sound files, with the options of the model's own source.

    Parameters
    ----------
    signature : Signature
    """

    def __init__(self, signature: Signature):
        options = parse_audio_source(parse_source(signature.source)[1])[1]
        self._form = Spectrogram(options.rate, options.seconds, options.mels, options.window, options.hop)

    def read(self, content: bytes) -> np.ndarray:
        """Return the features (T, M, 1) of a file (WAV, FLAC, ...).

        Raises
        ------
        Refusal
            If it is no sound (400).
        UserError
            If a package is needed that is not installed.
        """
        suffix = ".wav" if content.startswith(b"RIFF") else ".sound"
        with tempfile.NamedTemporaryFile(suffix=suffix) as file:  # the readers take paths
            file.write(content)
            file.flush()
            try:
                return self._form.decode(file.name)[0]
            except Undecodable as error:
                raise Refusal(400, f"the sound cannot be decoded: {error}") from None
