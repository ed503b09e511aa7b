"""Normalisation on a GPU, by our kernels: three launches forward and three backward, none of which the host waits for.

Only statistics over several ranks meet on the host: they are this op's one wait, in each direction.
"""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import Kernel, kernel
from .. import batchnorm, layernorm
from ..batchnorm import Norm
from ..gradient import Gradient
from ..product import Buffer
from .columns import Parts, cut_rows
from .launch import loop, run

KEPT = 5  # vectors: mean, r, offset, scale, shift


def _batchnorm(name: str) -> Kernel:
    return kernel("batchnorm.cu", name=f"batchnorm_{name}")


MOMENTS, STATISTICS, MERGE, PREPARE = map(_batchnorm, ("moments", "statistics", "merge", "prepare"))
APPLY, EVALUATE, DX = map(_batchnorm, ("apply", "evaluate", "dx"))
SUMS, SLOPES_OF_SUMS, GRADIENTS, SLOPES = map(_batchnorm, ("sums", "slopes_of_sums", "gradients", "slopes"))
LAYERNORM = kernel("layernorm.cu", name="layernorm_forward")
LAYERNORM_DX = kernel("layernorm.cu", name="layernorm_dx")


@batchnorm.batchnorm_train.cuda
def batchnorm_train(x: Any, norm: Norm, y: Any, keep: Any, buffer: Buffer) -> Any:
    """Return (the vectors that backward needs, pixels over all ranks)."""
    if x.dtype != np.float32:
        return False
    device, channels, parts = _cut(x)
    rows, kept = x.size // channels, keep("kept", (KEPT, channels), np.float32)
    moments = buffer("moments", (parts.num, 2, channels))
    statistics = norm.weight, norm.bias, norm.running_mean, norm.running_var, kept
    rates = float(norm.momentum), float(norm.eps)
    count = float(rows)
    if rows:
        parts.launch(device, MOMENTS, x, moments, rows, channels, parts.rows)
    if norm.sum_over_ranks is None:
        run(device, STATISTICS, 32 * channels, (moments, *statistics, rows, channels, parts.rows, *rates))
    else:
        total = keep("total", (1 + 2 * channels,), np.float64)
        run(device, MERGE, 32 * channels, (moments, total, kept, rows, channels, parts.rows))
        count = float(norm.sum_over_ranks(total)[0])
        run(device, PREPARE, 32 * channels, (total, *statistics, channels, *rates))
    loop(device, APPLY, x.size, (x, kept, y, _size(x), channels, int(norm.relu)))
    return kept, count


@batchnorm.batchnorm_evaluate.cuda
def batchnorm_evaluate(x: Any, norm: Norm, y: Any) -> bool:
    """One launch."""
    if x.dtype != np.float32:
        return False
    vectors = norm.weight, norm.bias, norm.running_mean, norm.running_var
    channels = x.shape[3]
    loop(device_of(x), EVALUATE, x.size, (x, *vectors, y, _size(x), channels, float(norm.eps), int(norm.relu)))
    return True


@batchnorm.batchnorm_backward.cuda
def batchnorm_backward(
    dy: Any, x: Any, y: Any, norm: Norm, kept: Any, dw: Gradient, db: Gradient, dx: Any, buffer: Any
) -> bool:
    """Put dw and db of this rank, and write dx."""
    if x.dtype != np.float32:
        return False
    vectors, count = kept
    device, channels, parts = _cut(x)
    rows, sums, slopes = x.size // channels, _sums(dy, x, y, vectors, buffer), buffer("slopes", (3, channels))
    adds = int(dw.accumulate), int(db.accumulate)
    if norm.sum_over_ranks is None:
        gradients = sums, vectors, norm.weight, dw.array, db.array, slopes
        run(device, SLOPES_OF_SUMS, 32 * channels, (*gradients, rows, channels, parts.num, *adds))
        _written(db, dw)
    else:
        total = buffer("total", (2 * channels,), np.float64)
        run(device, GRADIENTS, 32 * channels, (sums, vectors, dw.array, db.array, total, channels, parts.num, *adds))
        _written(db, dw)
        norm.sum_over_ranks(total)
        divisor = np.array(max(1.0, count), np.float64)
        run(device, SLOPES, 32 * channels, (total, vectors, norm.weight, slopes, channels, divisor))
    loop(device, DX, x.size, (dy, x, y, vectors, slopes, dx, _size(x), channels))
    return True


@layernorm.layernorm.cuda
def layernorm_forward(x: Any, w: Any, b: Any, eps: float, z: Any, r: Any, y: Any) -> bool:
    """One launch, a warp for each row."""
    if x.dtype != np.float32:
        return False
    run(device_of(x), LAYERNORM, 32 * len(x), (x, w, b, float(eps), z, r, y, *x.shape))
    return True


@layernorm.layernorm_gradients.cuda
def layernorm_gradients(dy: Any, z: Any, dw: Gradient, db: Gradient, buffer: Buffer) -> bool:
    """Two launches: the sums of batch normalisation's gradients, about 0."""
    if dy.dtype != np.float32:
        return False
    device, channels, parts = _cut(dy)
    sums, adds = _sums(dy, z, None, None, buffer), (int(dw.accumulate), int(db.accumulate))
    run(device, GRADIENTS, 32 * channels, (sums, None, dw.array, db.array, None, channels, parts.num, *adds))
    _written(db, dw)
    return True


@layernorm.layernorm_dx.cuda
def layernorm_dx(dy: Any, z: Any, r: Any, w: Any, dx: Any) -> bool:
    """One launch."""
    if dy.dtype != np.float32:
        return False
    run(device_of(dy), LAYERNORM_DX, 32 * len(dy), (dy, z, r, w, dx, *dy.shape))
    return True


def _written(*gradients: Gradient) -> None:
    for gradient in gradients:
        gradient.written()


def _sums(dy: Any, x: Any, y: Any, mean: Any, buffer: Buffer) -> Any:
    """Return the sums of dy and of dy (x - mean) for each part of the rows and each channel."""
    device, channels, parts = _cut(x)
    sums = buffer("sums", (parts.num, 2, channels))
    if x.size:
        parts.launch(device, SUMS, dy, x, y, mean, sums, x.size // channels, channels, parts.rows)
    return sums


def _cut(x: Any) -> tuple[Any, int, Parts]:
    device: Any = device_of(x)
    channels = x.shape[-1]
    return device, channels, cut_rows(x.size // channels, channels, device.num_processors)


def _size(x: Any) -> np.ndarray:
    return np.array(x.size, np.int64)
