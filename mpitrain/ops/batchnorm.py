"""Batch normalisation: the passes over images; what lies between them is a few numbers a channel.

Shapes: images (N, H, W, C), C-contiguous, seen as ``lanes`` (R, L) with L a multiple of C, so that inner loops are
long where C is short; vectors (C,) float64. Any N, also 0.
"""

import numpy as np

from .dispatch import op

LONGEST_LANE = 32768  # elements


def lanes(images: np.ndarray) -> np.ndarray:
    """Return the view (N, H W C), or (N H, W C) where images are large."""
    n, height, width, channels = images.shape
    if height * width * channels <= LONGEST_LANE:
        return images.reshape(n, height * width * channels)
    return images.reshape(n * height, width * channels)


@op
def channel_sum(x: np.ndarray, num_channels: int) -> np.ndarray:
    """Return the sum of lanes ``x`` over all pixels (C,)."""
    return _fold(np.ones(len(x), x.dtype) @ x, num_channels)


@op
def channel_dot(x: np.ndarray, y: np.ndarray, num_channels: int) -> np.ndarray:
    """Return the sum of x y over all pixels (C,)."""
    return _fold(np.einsum("rl,rl->l", x, y), num_channels)


@op
def center(x: np.ndarray, mean: np.ndarray, out: np.ndarray) -> None:
    """Write x - mean."""
    np.subtract(x, _spread(mean, x), out=out)


@op
def scale_shift(x: np.ndarray, scale: np.ndarray, shift: np.ndarray, out: np.ndarray) -> None:
    """Write scale x + shift."""
    np.multiply(x, _spread(scale, x), out=out)
    np.add(out, _spread(shift, x), out=out)


@op
def batchnorm_dx(
    dy: np.ndarray, centered: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray, dx: np.ndarray
) -> None:
    """Write dx = a dy + b centered + c; ``dy`` is overwritten."""
    np.multiply(dy, _spread(a, dy), out=dy)
    np.multiply(centered, _spread(b, dy), out=dx)
    np.add(dx, dy, out=dx)
    np.add(dx, _spread(c, dy), out=dx)


def _fold(lane: np.ndarray, num_channels: int) -> np.ndarray:
    return lane.reshape(-1, num_channels).sum(axis=0, dtype=np.float64)


def _spread(vector: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return ``vector`` (C,) repeated along a lane (L,), in the precision of x."""
    return np.tile(vector.astype(x.dtype), x.shape[1] // len(vector))
