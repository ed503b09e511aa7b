"""Small pictures of image samples, as PNG in a data URI.

Shapes: H, W, C height, width and channels.
"""

import base64
import struct
import zlib

import numpy as np

LARGEST = 64
"""Pixels of the longer side; larger images are averaged over blocks."""


def as_png(image: np.ndarray, black: float = 0.0, white: float = 255.0, largest: int = LARGEST) -> str:
    """Return an image as the text ``data:image/png;base64,...``.

    Parameters
    ----------
    image : (H, W, C) array
        Three channels are red, green and blue; of any other number the first is shown in gray.
    black, white : float
        The values that are shown as these, as ``ends`` gives them.
    largest : int
        Pixels of the longer side.
    """
    values = shrink(image if image.shape[2] == 3 else image[..., :1], largest)
    scale = 255 / (white - black) if white > black else 0.0
    pixels = np.rint(np.clip((np.nan_to_num(values, nan=black) - black) * scale, 0, 255)).astype(np.uint8)
    height, width, channels = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)  # 0: no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"


def ends(images: np.ndarray) -> tuple[float, float]:
    """Return the values for black and white of images that are shown together: 0 to their largest value for bytes."""
    finite = images[np.isfinite(images)]
    if not finite.size:
        return 0.0, 0.0
    return (0.0 if images.dtype == np.uint8 else float(finite.min())), float(finite.max())


def shrink(image: np.ndarray, largest: int = LARGEST) -> np.ndarray:
    """Return means over blocks, as float64; what is left over at the lower and the right edge is cut off."""
    factor = -(-max(image.shape[:2]) // largest)
    height, width = (max(1, size // factor) for size in image.shape[:2])
    blocks = image[: height * factor, : width * factor].astype(np.float64)
    rows, columns = (min(factor, size) for size in image.shape[:2])  # of a block, in an image thinner than one
    means: np.ndarray = blocks.reshape(height, rows, width, columns, -1).mean(axis=(1, 3))
    return means


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
