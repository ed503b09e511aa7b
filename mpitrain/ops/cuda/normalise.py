"""Normalisation on a GPU, by CuPy's reductions."""

from typing import Any

import numpy as np

from .. import batchnorm, layernorm
from ..product import Buffer


@batchnorm.batchnorm_statistics.cuda
def batchnorm_statistics(x: Any, mean: Any, squares: Any, buffer: Buffer) -> None:
    """Write the mean of each channel, rounded to the precision of x, and the sum of squared differences from it."""
    pixels = x.reshape(-1, x.shape[3])
    pixels.sum(axis=0, dtype=np.float64, out=mean)
    np.divide(mean, max(1, len(pixels)), out=mean)
    rounded = mean.astype(x.dtype)
    mean[:] = rounded
    centered = np.subtract(pixels, rounded, out=buffer("centered", pixels.shape))
    np.multiply(centered, centered, out=centered).sum(axis=0, dtype=np.float64, out=squares)


@batchnorm.batchnorm_sums.cuda
def batchnorm_sums(dy: Any, x: Any, mean: Any, y: Any, sums: Any, dots: Any, buffer: Buffer) -> None:
    """Write the sums over pixels of dy and of dy (x - mean)."""
    pixels = x.reshape(-1, x.shape[3])
    slope = dy.reshape(pixels.shape)
    if y is not None:
        masked = buffer("masked", pixels.shape)
        slope = np.multiply(slope, np.greater(y.reshape(pixels.shape), 0), out=masked)
    slope.sum(axis=0, dtype=np.float64, out=sums)
    centered = np.subtract(pixels, mean.astype(x.dtype), out=buffer("centered", pixels.shape))
    np.multiply(slope, centered, out=centered).sum(axis=0, dtype=np.float64, out=dots)


@layernorm.layernorm.cuda
def layernorm_forward(x: Any, w: Any, b: Any, eps: float, z: Any, r: Any, y: Any) -> None:
    """Write y, and z and r for backward."""
    size = x.shape[1]
    x.sum(axis=1, out=r, keepdims=True)
    np.multiply(r, 1 / size, out=r)
    np.subtract(x, r, out=z)
    np.multiply(z, z, out=y)
    y.sum(axis=1, out=r, keepdims=True)
    np.multiply(r, 1 / size, out=r)
    np.add(r, eps, out=r)
    np.sqrt(r, out=r)
    np.divide(1, r, out=r)
    np.multiply(z, r, out=z)
    np.multiply(z, w, out=y)
    np.add(y, b, out=y)


@layernorm.layernorm_dw.cuda
def layernorm_dw(dy: Any, z: Any) -> tuple[Any, Any]:
    """Return dw and db."""
    return np.multiply(dy, z).sum(axis=0), dy.sum(axis=0)


@layernorm.layernorm_dx.cuda
def layernorm_dx(dy: Any, z: Any, r: Any, w: Any, dx: Any) -> None:
    """Write dx; ``dy`` is overwritten."""
    size = dy.shape[1]
    np.multiply(dy, w, out=dy)
    np.multiply(dy, z, out=dx)
    slope = dx.sum(axis=1, keepdims=True) / size
    np.multiply(z, slope, out=dx)
    np.subtract(dy, dx, out=dx)
    np.subtract(dx, dy.sum(axis=1, keepdims=True) / size, out=dx)
    np.multiply(dx, r, out=dx)
