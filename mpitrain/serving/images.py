"""Image files of requests, as samples of the model.

Shapes: H, W, C height, width and channels.
"""

import base64
import binascii
import io
from typing import Any

import numpy as np

from ..data.images.decode import Shape, decode, import_pillow
from ..data.images.options import parse_image_source
from ..data.matching.signature import Signature
from ..data.media.form import Undecodable
from ..data.sources import parse_source
from ..errors import UserError
from .refusal import Refusal

MOST_PIXELS = 64_000_000
FEW_LEVELS = 16  # training samples of bytes up to this have a range of their own; photographs may be dark


class ImageReader:
    """Reader of image files, in the shape and the range of the model's training samples.

    Files are decoded as those of a source ``images:`` are, with the options of the model's own if it was trained on
    one. Bytes 0 to 255 are scaled to the range of the training samples where that is another one (the pixels of the
    digits go up to 16).

    Parameters
    ----------
    signature : Signature
    """

    def __init__(self, signature: Signature):
        self._shape = _shape_of(signature)
        self._dtype = signature.dtype
        found = signature.extremes
        usual = found is None or (signature.dtype == "uint8" and found.most.max() > FEW_LEVELS)
        self._range = None if usual or found is None else (found.least, found.most)

    def read(self, content: bytes) -> np.ndarray:
        """Return the image of a file (PNG, JPEG, ...) as (H, W, C).

        Raises
        ------
        Refusal
            If it is no image (400), too large (413), or Pillow is not installed (415).
        """
        if self._shape.channels not in (1, 3):
            raise Refusal(415, f"the model takes images of {self._shape.channels} channels: send them as an array")
        try:
            images = import_pillow()
        except UserError as error:
            raise Refusal(415, str(error)) from None
        try:
            with images.open(io.BytesIO(content)) as image:
                pixels = image.width * image.height
            if pixels > MOST_PIXELS:
                raise Refusal(413, f"the image has {pixels:,} pixels, and at most {MOST_PIXELS:,} may be")
            found, _ = decode(io.BytesIO(content), self._shape)
        except Refusal:
            raise
        except Undecodable as error:
            raise Refusal(400, f"the image cannot be decoded: {error}") from None
        except Exception:  # Pillow's readers raise what they like
            raise Refusal(400, "the image cannot be decoded: it is of an unknown kind") from None
        return self._scaled(found)

    def read_all(self, inputs: list[Any]) -> np.ndarray:
        """Return (n, H, W, C) images of files in base64, with or without ``data:image/png;base64,``."""
        images = []
        for number, text in enumerate(inputs):
            if not isinstance(text, str):
                raise UserError(f"input {number} is no text in base64, as the first one is")
            try:
                content = base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
            except (binascii.Error, ValueError):
                raise Refusal(400, f"input {number} is no base64") from None
            images.append(self.read(content))
        return np.stack(images)

    def _scaled(self, pixels: np.ndarray) -> np.ndarray:
        if self._range is None:
            return pixels
        least, most = self._range
        values = least + (most - least) * (pixels / 255.0)
        if self._dtype == "uint8":
            return np.asarray(np.rint(values), np.uint8)
        return np.asarray(values, np.float64 if self._dtype == "float64" else np.float32)


def _shape_of(signature: Signature) -> Shape:
    """Return the shape that image files get, as in training where the model was trained on such files."""
    height, width, channels = signature.input_shape
    kind, place = parse_source(signature.source) if signature.source else ("", "")
    if kind != "images":
        return Shape(height, width, channels)
    options = parse_image_source(place)[1]
    return Shape(height, width, channels, fit=options.fit, resize=options.resize)
