"""Batch normalization: the passes over images; between them are a few numbers per channel.

Shapes: images x, y, dy, dx (N, H, W, C), C-contiguous but for x, which may be the first channels of wider pixels;
vectors (C,) float64. Any N, also 0. Where ``y`` is given, a ReLU followed forward, and dy counts only where y > 0.

Images are viewed as lanes (R, L) with L a multiple of C, so that inner loops are long where C is short.
"""

import numpy as np

from .dispatch import op
from .workspace import workspace

LONGEST_LANE = 32768  # elements


@op
def batchnorm_statistics(x: np.ndarray, mean: np.ndarray, squares: np.ndarray) -> None:
    """Write the mean of each channel, rounded to the precision of x, and the sum of squared differences from it."""
    rows, num_channels = _lanes(x), len(mean)
    mean[:] = _fold(np.ones(len(rows), x.dtype, like=x) @ rows, num_channels) / max(1, x.size // num_channels)
    mean[:] = mean.astype(x.dtype)
    centered = np.subtract(rows, _spread(mean, rows), out=workspace(x, "centered", rows.shape))
    squares[:] = _fold(np.einsum("rl,rl->l", centered, centered), num_channels)


@op
def batchnorm(x: np.ndarray, mean: np.ndarray, scale: np.ndarray, shift: np.ndarray, y: np.ndarray, relu: bool) -> None:
    """Write y = scale (x - mean) + shift, or with ``relu`` its maximum with 0."""
    rows, out = _lanes(x), _lanes(y)
    np.subtract(rows, _spread(mean, rows), out=out)
    np.multiply(out, _spread(scale, rows), out=out)
    np.add(out, _spread(shift, rows), out=out)
    if relu:
        np.maximum(out, 0, out=out)


@op
def batchnorm_sums(
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    y: np.ndarray | None,
    sums: np.ndarray,
    dots: np.ndarray,
) -> None:
    """Write the sums over pixels of dy and of dy (x - mean)."""
    rows, num_channels = _lanes(x), len(mean)
    slope = _masked(_lanes(dy), y)
    sums[:] = _fold(np.ones(len(rows), x.dtype, like=x) @ slope, num_channels)
    centered = np.subtract(rows, _spread(mean, rows), out=workspace(x, "centered", rows.shape))
    dots[:] = _fold(np.einsum("rl,rl->l", slope, centered), num_channels)


@op
def batchnorm_dx(
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    y: np.ndarray | None,
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    dx: np.ndarray,
) -> None:
    """Write dx = a dy + b (x - mean) + c."""
    rows, out = _lanes(x), _lanes(dx)
    slope = _masked(_lanes(dy), y)
    scaled = np.multiply(slope, _spread(a, rows), out=workspace(x, "scaled", rows.shape))
    np.subtract(rows, _spread(mean, rows), out=out)
    np.multiply(out, _spread(b, rows), out=out)
    np.add(out, scaled, out=out)
    np.add(out, _spread(c, rows), out=out)


def _lanes(images: np.ndarray) -> np.ndarray:
    """Return the view (N, H W C), or (N H, W C) where images are large."""
    n, height, width, channels = images.shape
    if height * width * channels <= LONGEST_LANE:
        return images.reshape(n, height * width * channels)
    return images.reshape(n * height, width * channels)


def _masked(dy: np.ndarray, y: np.ndarray | None) -> np.ndarray:
    """Return dy, or where a ReLU followed dy (y > 0)."""
    if y is None:
        return dy
    mask: np.ndarray = workspace(dy, "masked", dy.shape)
    np.greater(_lanes(y), 0, out=mask, casting="unsafe")
    np.multiply(mask, dy, out=mask)
    return mask


def _fold(lane: np.ndarray, num_channels: int) -> np.ndarray:
    sums: np.ndarray = lane.reshape(-1, num_channels).sum(axis=0, dtype=np.float64)
    return sums


def _spread(vector: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return ``vector`` (C,) repeated along a lane (L,), in the precision of x."""
    return np.tile(vector.astype(x.dtype), x.shape[1] // len(vector))
