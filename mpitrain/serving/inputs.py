"""Bodies of requests, as arrays of samples for the model.

Shapes: n samples; H, W, C height, width and channels of an image; F columns of a table; T tokens.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

from ..data.checks import check_features
from ..data.dataset import LANGUAGE_MODELING
from ..data.matching.conform import check_shapes
from ..errors import UserError
from ..training.directory.trained_model import TrainedModel
from .images import ImageReader
from .refusal import Refusal
from .rows import RowReader
from .sounds import SoundReader, takes_sounds
from .texts import TextReader

JSON, NPY, TEXT = "application/json", "application/x-npy", "text/plain"
NPY_MAGIC = b"\x93NUMPY"
MAX_DEPTH = 5  # brackets of an image (n, H, W, C), and one to spare


class Inputs:
    """Reader of the bodies of requests to predict.

    Parameters
    ----------
    run : TrainedModel
        Its signature says what samples are.

    Attributes
    ----------
    kind : str
        "image", "sound", "table", "text", "tokens", or "prompt" for a language model.
    """

    def __init__(self, run: TrainedModel):
        self._then = then = run.signature
        self._texts: TextReader | None = None
        self._images: ImageReader | None = None
        self._sounds: SoundReader | None = None
        if then.task == LANGUAGE_MODELING:
            self.kind = "prompt"
        elif then.vocabulary:
            self.kind = "tokens" if run.tokenizer is None else "text"
            self._texts = TextReader(then, run.tokenizer)
        elif takes_sounds(then):
            self.kind, self._sounds = "sound", SoundReader(then)
        elif len(then.input_shape) == 3:
            self.kind, self._images = "image", ImageReader(then)
        else:
            self.kind, self._rows = "table", RowReader(then)

    def read(self, media_type: str, body: bytes) -> np.ndarray:
        """Return the samples (n, ...) of a body.

        Parameters
        ----------
        media_type : str
            Content-Type without parameters, in lower case.

        Raises
        ------
        Refusal
            In one sentence, if the body is none of ours (415), cannot be read (400), or does not fit the model (422).
        """
        try:
            return self._reader(media_type, body)(body)
        except UserError as error:
            raise Refusal(422, str(error)) from None

    def _reader(self, media_type: str, body: bytes) -> Callable[[bytes], np.ndarray]:
        if media_type == JSON:
            return self._read_json
        if media_type == NPY or (media_type == "application/octet-stream" and body.startswith(NPY_MAGIC)):
            return self._read_npy
        if self._images is not None and media_type.startswith("image/"):
            return lambda body: self._checked(self._images.read(body)[None])  # type: ignore[union-attr]
        if self._sounds is not None and media_type.startswith("audio/"):
            return lambda body: self._sounds.read(body)[None]  # type: ignore[union-attr]
        if self.kind == "text" and media_type == TEXT:
            return lambda body: self._texts.read([_text(body)])  # type: ignore[union-attr]
        more = {"image": ["image/png", "image/jpeg"], "sound": ["audio/wav", "audio/flac"], "text": [TEXT]}
        known = [JSON, NPY, *more.get(self.kind, [])]
        raise Refusal(415, f"the Content-Type is {media_type or 'missing'}, but must be {', '.join(known)}")

    def _read_json(self, body: bytes) -> np.ndarray:
        inputs = parse_json(body, ("inputs",)).get("inputs")
        if not isinstance(inputs, list) or not inputs:
            raise Refusal(422, 'the request must be {"inputs": [...]}, with at least one input')
        if self._texts is not None:
            return self._texts.read(inputs)
        if self._images is not None and isinstance(inputs[0], str):
            return self._checked(self._images.read_all(inputs))
        if self.kind == "table":
            return self._rows.read(inputs)
        return self._as_trained(numbers(inputs, self._then.input_shape))

    def _read_npy(self, body: bytes) -> np.ndarray:
        x = parse_npy(body)
        return self._texts.check(x) if self._texts is not None else self._checked(x)

    def _as_trained(self, x: np.ndarray) -> np.ndarray:
        """Return pixels in the dtype of the training samples, if it holds them."""
        trained_on = self._then.dtype
        if trained_on == "uint8" and x.dtype.kind == "i" and x.min() >= 0 and x.max() <= 255:
            return x.astype(np.uint8)
        if trained_on == "float64":
            return x.astype(np.float64)
        with np.errstate(over="ignore"):  # what is infinite then is refused
            return self._checked(x.astype(np.float32))

    def _checked(self, x: np.ndarray) -> np.ndarray:
        if not x.flags.aligned or not x.dtype.isnative:
            x = x.astype(x.dtype.newbyteorder("="))
        x = check_features(x, "the inputs", self._then.feature_names)
        check_shapes(x, None, self._then, "the request")
        return x


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Refusal(400, "the text is not UTF-8") from None


def parse_json(body: bytes, known: tuple[str, ...]) -> dict[str, Any]:
    """Return the object in ``body``, which may have the keys ``known``.

    Raises
    ------
    Refusal
        If it is no JSON (400), no object, or has another key (422).
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"the body is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise Refusal(422, f"the body must be a JSON object with {' and '.join(known[:2])}")
    for key in found:
        if key not in known:
            raise Refusal(422, f"the body has the key {key[:40]!r}, and there are only {', '.join(known)}")
    return found


def numbers(inputs: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Return inputs as (n, ...) int64 if all numbers are whole, and else as float64.

    Raises
    ------
    UserError
        If they are no numbers, or not all of one shape.
    """
    try:
        x = np.array(inputs)
        if x.dtype.kind not in "buifO":  # "1.5" is no number in JSON
            raise TypeError
        x = x if x.dtype == np.int64 else np.array(inputs, np.float64)
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"each input must be an array of numbers of the shape {shape}") from None
    if x.shape[1:] != shape and (*x.shape[1:], 1) != shape:
        raise UserError(f"inputs have the shape {x.shape[1:]}, but the model takes {shape}")
    if x.shape[1:] != shape:
        x = x.reshape(len(x), *shape)
    if x.dtype == np.float64 and not np.isfinite(x).all():
        first = int(np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=1))[0])
        raise UserError(f"input {first} has a value that is null or no finite number")
    return x


def parse_npy(body: bytes) -> np.ndarray:
    """Return the array of a file in NumPy's format, a view of ``body``.

    ``np.load`` would take memory for the shape that the header claims before it looks for the data.

    Raises
    ------
    Refusal
        If it is none (400).
    """
    import io

    file = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, by_columns, dtype = read(file)
    except Exception:  # what the parser of Python literals raises
        raise Refusal(400, "the body is no array in NumPy's format (np.save)") from None
    data = memoryview(body)[file.tell() :]
    if dtype.hasobject or dtype.kind not in "buif":
        raise Refusal(422, f"the array is of type {dtype}, expected numbers")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise Refusal(400, f"the array has {len(data):,} bytes, but its header says {shape} {dtype}")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if by_columns else "C")
