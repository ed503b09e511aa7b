"""Image files of requests, as samples of the model.

Shapes: H, W, C height, width and channels.
"""

import base64
import binascii
import importlib.util
import io
from typing import Any

import numpy as np

from ..data.matching.signature import Signature
from ..errors import UserError
from .refusal import Refusal

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # of Pillow, by the number of channels
MAX_PIXELS = 64_000_000
FEW_LEVELS = 16  # training samples of bytes up to this have a range of their own; photographs may be dark


class ImageReader:
    """Reader of image files, in the size, the channels and the range of the model's training samples.

    A file whose image is larger or smaller is scaled; bytes 0 to 255 are scaled to the range of the training samples
    where that is another one (the pixels of the digits go up to 16).

    Parameters
    ----------
    signature : Signature
    """

    def __init__(self, signature: Signature):
        self._height, self._width, self._channels = signature.input_shape
        self._dtype = signature.dtype
        self._range = self._range_of(signature)

    @staticmethod
    def _range_of(signature: Signature) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the values for black and white; None for bytes of the usual range."""
        found = signature.extremes
        if found is None or (signature.dtype == "uint8" and found.most.max() > FEW_LEVELS):
            return None
        return found.least, found.most

    def read(self, content: bytes) -> np.ndarray:
        """Return the image of a file (PNG, JPEG, ...) as (H, W, C).

        Raises
        ------
        Refusal
            If it is no image (400), or Pillow is not installed (415).
        """
        if importlib.util.find_spec("PIL") is None:
            raise Refusal(415, "image files need the package pillow: pip install 'mpitrain[images]' on the server")
        from PIL import Image, ImageOps

        try:
            image: Any = Image.open(io.BytesIO(content))
            if image.width * image.height > MAX_PIXELS:
                raise Refusal(413, f"the image has more than {MAX_PIXELS:,} pixels")
            image = _flat(ImageOps.exif_transpose(image), self._channels)
            if image.size != (self._width, self._height):
                image = image.resize((self._width, self._height), Image.Resampling.BILINEAR)
        except Refusal:
            raise
        except Exception:  # Pillow's readers raise what they like
            raise Refusal(400, "the image is truncated, or in a format that Pillow does not know") from None
        return self._scaled(np.asarray(image, np.uint8).reshape(self._height, self._width, self._channels))

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


def _flat(image: Any, channels: int) -> Any:
    """Return an image of so many channels; what is transparent becomes white."""
    from PIL import Image

    mode = MODES.get(channels)
    if mode is None:
        raise Refusal(415, f"the model takes images of {channels} channels: send them as an array")
    if image.mode != mode and ("A" in image.getbands() or "transparency" in image.info) and "A" not in mode:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(background, image)
    return image.convert(mode)
