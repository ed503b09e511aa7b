"""Batch normalization: statistics, images, gradients. The formula is in ``layers/batchnorm2d.py``.

Shapes: images x, y, dy, dx (N, H, W, C), C-contiguous but for x, which may be the first channels of wider pixels;
vectors (C,). Any N, also 0.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .batchnorm_passes import batchnorm, batchnorm_dx, batchnorm_statistics, batchnorm_sums
from .dispatch import op
from .elementwise import add, add_relu, relu_dx
from .gradient import Gradient
from .workspace import Keep


class Norm(NamedTuple):
    """The parameters and running statistics of a batch norm, (C,) each, and its settings.

    ``momentum`` 0 leaves the running statistics as they are. ``sum_over_ranks`` sums a float64 vector in place and
    returns it as an array of the host.
    """

    weight: np.ndarray
    bias: np.ndarray
    running_mean: np.ndarray
    running_var: np.ndarray
    momentum: float
    eps: float
    relu: bool
    sum_over_ranks: Callable[[np.ndarray], np.ndarray] | None


class Moments(NamedTuple):
    """Means of the channels of x in parts of ``rows`` pixels (the last may be shorter), and what differs from them.

    ``array`` (parts, 2, C), fp32: the mean of each part, and the sum of squared differences from it.
    """

    array: Any
    rows: int


class Kept(NamedTuple):
    """The state for backward: this rank's mean, and over all ranks pixels, 1 / sqrt(var + eps), and own - mean."""

    own: np.ndarray
    pixels: float
    r: np.ndarray
    offset: np.ndarray


@op
def batchnorm_train(
    x: np.ndarray,
    norm: Norm,
    y: np.ndarray,
    keep: Keep,
    moments: Moments | None = None,
    residual: np.ndarray | None = None,
) -> Any:
    """Write y by the statistics of the batch, update the running ones, and return the state for backward.

    ``moments`` are those of x, where what wrote x computed them (``ops.conv2d.conv2d_moments``): they save a pass.
    ``residual``, of the shape of y, is added to the result, before a ReLU: the end of a residual block.
    """
    own, squares = np.empty((2, x.shape[3]))
    batchnorm_statistics(x, own, squares)
    count, mean, var = _over_ranks(norm, x.size // x.shape[3], own, squares)
    r, offset = 1 / np.sqrt(var + norm.eps), own - mean
    scale = norm.weight * r
    _write(x, own, scale, norm.bias + scale * offset, y, norm.relu, residual)
    if norm.momentum and count:
        unbiased = var * (count / max(1, count - 1))
        norm.running_mean[...] += norm.momentum * (mean - norm.running_mean)
        norm.running_var[...] += norm.momentum * (unbiased - norm.running_var)
    return Kept(own, count, r, offset)


@op
def batchnorm_evaluate(x: np.ndarray, norm: Norm, y: np.ndarray, residual: np.ndarray | None = None) -> None:
    """Write y by the running statistics, with ``residual`` as in ``batchnorm_train``."""
    scale = norm.weight / np.sqrt(norm.running_var.astype(np.float64) + norm.eps)
    _write(x, norm.running_mean.astype(np.float64), scale, norm.bias.astype(np.float64), y, norm.relu, residual)


@op
def batchnorm_backward(
    dy: np.ndarray,
    x: np.ndarray,
    y: np.ndarray | None,
    norm: Norm,
    kept: Any,
    dw: Gradient,
    db: Gradient,
    dx: np.ndarray,
    masks: bool = False,
) -> None:
    """Put this rank's dw and db, and write dx; ``y`` is the result of forward where a ReLU was part of it.

    ``masks``: y was the ReLU of the sum with a residual. Then dy becomes the gradient of both terms: 0 where y is not
    above 0.
    """
    if masks:
        assert y is not None, "a mask is that of a ReLU"
        relu_dx(y, dy, dy)
        y = None
    own, count, r, offset = kept
    by_bias, dots = np.empty((2, len(own)))
    batchnorm_sums(dy, x, own, y, by_bias, dots)
    by_weight = r * (dots + offset * by_bias)
    db.put(by_bias)
    dw.put(by_weight)
    if norm.sum_over_ranks is not None:
        by_bias, by_weight = np.split(norm.sum_over_ranks(np.concatenate([by_bias, by_weight])), 2)
    scale = norm.weight * r
    slope = -scale * r * by_weight / max(1, count)
    batchnorm_dx(dy, x, own, y, scale, slope, slope * offset - scale * by_bias / max(1, count), dx)


def _write(
    x: np.ndarray,
    mean: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    y: np.ndarray,
    relu: bool,
    residual: np.ndarray | None,
) -> None:
    batchnorm(x, mean, scale, shift, y, relu and residual is None)
    if residual is not None:
        (add_relu if relu else add)(y, residual, y)


def _over_ranks(norm: Norm, count: int, own: np.ndarray, squares: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return pixels, mean and variance over all ranks."""
    if norm.sum_over_ranks is None:
        return count, own, squares / max(1, count)
    sums = norm.sum_over_ranks(np.concatenate([np.full_like(own[:1], count), count * own, squares + count * own**2]))
    total = float(sums[0])
    mean, mean_square = np.split(sums[1:] / max(1.0, total), 2)
    return total, mean, np.maximum(mean_square - mean**2, 0)
