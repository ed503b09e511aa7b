"""Small pictures of image samples, as PNG in a data URI.

Shapes: H, W, C height, width and channels.
"""

import base64
import struct
import zlib

import numpy as np

LARGEST = 64
"""Pixels of the longer side; larger images are averaged over blocks."""


def as_png(image: np.ndarray) -> str:
    """Return an image as the text ``data:image/png;base64,...``.

    Parameters
    ----------
    image : (H, W, C) array
        Bytes are shown as they are; other numbers from the least (black) to the greatest (white). Three channels are
        red, green and blue; of any other number the first is shown in gray.
    """
    pixels = _in_bytes(_shrunk(image if image.shape[2] == 3 else image[..., :1]), image.dtype)
    height, width, channels = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)  # 0: no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"


def _shrunk(image: np.ndarray) -> np.ndarray:
    """Return means over blocks, as float64; what is left over at the lower and the right edge is cut off."""
    factor = -(-max(image.shape[:2]) // LARGEST)
    height, width = (max(1, size // factor) for size in image.shape[:2])
    blocks = image[: height * factor, : width * factor].astype(np.float64)
    rows, columns = (min(factor, size) for size in image.shape[:2])  # of a block, in an image thinner than one
    return blocks.reshape(height, rows, width, columns, -1).mean(axis=(1, 3))


def _in_bytes(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype != np.uint8:
        image = np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0)
        low, high = float(image.min()), float(image.max())
        image = (image - low) * (255 / (high - low)) if high > low else np.zeros_like(image)
    pixels: np.ndarray = np.rint(image).astype(np.uint8)
    return pixels


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
