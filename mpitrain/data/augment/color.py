"""Changes of the colors of images of bytes, with the rounding of Pillow (ImageEnhance, ImageOps).

Shapes: x (n, H, W, C) uint8 with C = 1 or 3, changed in place; factors and the like (n,), one for each image.

An enhancement blends an image with a plainer one: plain + factor (x - plain), rounded down, as Pillow's blend does:
0 gives the plain image, 1 the image itself, and more exaggerates it.
"""

from typing import Any

import numpy as np

from ...errors import UserError
from .base import check_images

_LUMA = np.array([19595, 38470, 7471], np.uint32)  # of 65536: ITU-R 601, as in Pillow


def check_colors(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise UserError if samples are no images of bytes in gray or RGB."""
    check_images(name, shape)
    if dtype != np.uint8:
        raise UserError(f"{name} changes colors, from 0 to 255, and needs images of uint8: these are of {dtype}")
    if shape[2] not in (1, 3):
        raise UserError(f"{name} changes colors of gray or RGB images, and these have {shape[2]} channels")


def brightness(x: np.ndarray, factors: np.ndarray) -> None:
    """Blend with black."""
    _blend(x, np.float32(0), factors)


def contrast(x: np.ndarray, factors: np.ndarray) -> None:
    """Blend with the mean gray of each image."""
    means = gray(x).mean(axis=(1, 2, 3), dtype=np.float64)
    _blend(x, np.floor(means + 0.5).astype(np.float32)[:, None, None, None], factors)


def color(x: np.ndarray, factors: np.ndarray) -> None:
    """Blend with the gray image (saturation); gray ones stay."""
    if x.shape[3] == 3:
        _blend(x, gray(x).astype(np.float32), factors)


def sharpness(x: np.ndarray, factors: np.ndarray) -> None:
    """Blend with the image smoothed by (1 1 1; 1 5 1; 1 1 1) / 13; pixels of the edge stay."""
    if min(x.shape[1:3]) < 3:
        return
    inner = x[:, 1:-1, 1:-1]
    total = x.astype(np.uint16)
    lines = total[:, :-2] + total[:, 1:-1] + total[:, 2:]
    smooth = lines[:, :, :-2] + lines[:, :, 1:-1] + lines[:, :, 2:] + 4 * total[:, 1:-1, 1:-1]
    plain = np.floor(smooth.astype(np.float32) / np.float32(13) + np.float32(0.5))
    blended = inner.copy()
    _blend(blended, plain, factors)
    inner[...] = blended


def posterize(x: np.ndarray, bits: np.ndarray) -> None:
    """Keep the upper ``bits`` (n,) of each value."""
    x &= (0xFF00 >> bits.astype(np.int64) & 0xFF).astype(np.uint8)[:, None, None, None]


def solarize(x: np.ndarray, thresholds: np.ndarray) -> None:
    """Invert values from the threshold of each image on."""
    np.copyto(x, 255 - x, where=x >= thresholds[:, None, None, None])


def autocontrast(x: np.ndarray) -> None:
    """Stretch each channel of each image to 0 ... 255."""
    low, high = (f(axis=(1, 2), keepdims=True).astype(np.float64) for f in (x.min, x.max))
    flat = high <= low
    scale = 255.0 / np.where(flat, 1.0, high - low)
    values = np.arange(256.0).reshape(256, 1, 1, 1, 1)
    tables = np.clip(np.trunc(values * scale - low * scale), 0, 255)  # (256, n, 1, 1, C)
    tables = np.where(flat, values, tables).astype(np.uint8)
    _look_up(x, tables[:, :, 0, 0].transpose(1, 2, 0))


def equalize(x: np.ndarray) -> None:
    """Spread the values of each channel of each image, so that all occur equally often."""
    n, _, _, channels = x.shape
    counts = np.zeros((n, channels, 256), np.int64)
    for image, rows in zip(x, counts, strict=True):
        for channel, row in enumerate(rows):
            row[:] = np.bincount(image[..., channel].reshape(-1), minlength=256)
    last = np.where(counts > 0, np.arange(256), 0).max(axis=2)
    step = (counts.sum(axis=2) - np.take_along_axis(counts, last[..., None], 2)[..., 0]) // 255
    before = np.cumsum(counts, axis=2) - counts + (step // 2)[..., None]
    tables = np.minimum(before // np.maximum(step, 1)[..., None], 255)
    _look_up(x, np.where((step > 0)[..., None], tables, np.arange(256)).astype(np.uint8))


def hue(x: np.ndarray, shifts: np.ndarray) -> None:
    """Turn the hue by ``shifts`` (n,) of a whole turn; saturation and value stay. Gray images stay.

    Source: Smith 1978, "Color gamut transform pairs", in the form of the distance from the hue (k = 5, 3, 1 for red,
    green, blue): value (1 - saturation max(0, min(k', 4 - k', 1))) with k' = (k + 6 hue) mod 6.
    """
    if x.shape[3] != 3:
        return
    for image, shift in zip(x, shifts.astype(np.float32), strict=True):  # one at a time stays in the cache
        r, g, b = (image[..., i].astype(np.float32) for i in range(3))
        value = np.maximum(np.maximum(r, g), b)
        spread = value - np.minimum(np.minimum(r, g), b)
        inverse = 1 / np.maximum(spread, 1)  # of whole numbers; where it is 0, so are the differences
        turned = np.where(
            value == r, (g - b) * inverse, np.where(value == g, 2 + (b - r) * inverse, 4 + (r - g) * inverse)
        )
        for channel, k in enumerate((5, 3, 1)):
            distance = turned + (k + 6 * shift)
            distance -= 6 * np.floor(distance / 6)  # np.mod takes ten times as long
            part = np.clip(np.minimum(distance, 4 - distance), 0, 1)
            image[..., channel] = np.rint(value - spread * part)


def gray(x: np.ndarray) -> np.ndarray:
    """Return the gray values (n, H, W, 1) of images, as uint8."""
    if x.shape[3] == 1:
        return x
    weighted = np.full((*x.shape[:3], 1), 0x8000, np.uint32)
    for channel, weight in enumerate(_LUMA):
        weighted += x[..., channel : channel + 1] * weight
    weighted >>= np.uint32(16)
    found: np.ndarray = weighted.astype(np.uint8)
    return found


def _blend(x: np.ndarray, plain: Any, factors: np.ndarray) -> None:
    values = x.astype(np.float32)
    values -= plain
    values *= factors.astype(np.float32)[:, None, None, None]
    values += plain
    np.clip(values, 0, 255, out=values)
    np.copyto(x, values, casting="unsafe")  # rounds down


def _look_up(x: np.ndarray, tables: np.ndarray) -> None:
    """Replace each value by that of the table (256,) of its image and channel; tables are (n, C, 256)."""
    for image, rows in zip(x, tables, strict=True):
        for channel, row in enumerate(rows):
            image[..., channel] = row[image[..., channel]]
