"""Batch normalization on a GPU: three launches forward and three backward, none of which the host waits for.

Where a convolution left the moments of x, forward begins with them.

Only statistics over several ranks pass through the host: they are this op's one wait, in each direction.
"""

from math import gcd
from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import Kernel, kernel
from ...kernels.plan import ceil_div
from .. import batchnorm as ops
from ..batchnorm import Moments, Norm
from ..gradient import Gradient
from ..workspace import Keep, workspace
from .elements import ElementKernel, element_kernel, elements_fit, fitting
from .launch import piece_of, run, spread
from .reduce import Parts, cut_rows

MOST_SLABS = 256  # whose moments statistics can merge: 8 for each lane of a warp
KEPT = 5  # vectors: mean, r, offset, scale, shift


def _of_channels(name: str) -> Kernel:
    return kernel("batchnorm_statistics.cu", name=f"batchnorm_{name}")


def _of_elements(name: str) -> ElementKernel:
    return element_kernel("batchnorm.cu", name=f"batchnorm_{name}")


MOMENTS = element_kernel("batchnorm_moments.cu", name="batchnorm_moments")
MERGE_SLABS = kernel("batchnorm_moments.cu", name="batchnorm_merge_slabs")
STATISTICS, MERGE, PREPARE = map(_of_channels, ("statistics", "merge", "prepare"))
SLOPES_OF_SUMS, GRADIENTS, SLOPES = map(_of_channels, ("slopes_of_sums", "gradients", "slopes"))
APPLY, EVALUATE, SUMS, DX = map(_of_elements, ("apply", "evaluate", "sums", "dx"))
APPLY_RESIDUAL, EVALUATE_RESIDUAL = map(_of_elements, ("apply_residual", "evaluate_residual"))
SUMS_RESIDUAL = _of_elements("sums_residual")


@ops.batchnorm_train.cuda
def batchnorm_train(
    x: Any, norm: Norm, y: Any, keep: Keep, moments: Moments | None = None, residual: Any = None
) -> Any:
    """Return (the vectors for backward, pixels over all ranks)."""
    if not elements_fit(y):
        return False
    x, residual = fitting(x, y, "packed"), residual if residual is None else fitting(residual, y, "residual")
    channels = x.shape[-1]
    rows, kept = x.size // channels, keep("kept", (KEPT, channels), np.float32)
    of_parts, each = _moments(x) if moments is None else moments
    statistics = norm.weight, norm.bias, norm.running_mean, norm.running_var, kept
    rates = float(norm.momentum), float(norm.eps)
    count = float(rows)
    device: Any = device_of(x)
    if norm.sum_over_ranks is None:
        run(device, STATISTICS, 32 * channels, (of_parts, *statistics, rows, channels, each, *rates))
    else:
        total = keep("total", (1 + 2 * channels,), np.float64)
        run(device, MERGE, 32 * channels, (of_parts, total, kept, rows, channels, each))
        count = float(norm.sum_over_ranks(total)[0])
        run(device, PREPARE, 32 * channels, (total, *statistics, channels, *rates))
    which, images = (APPLY, (x,)) if residual is None else (APPLY_RESIDUAL, (x, residual))
    _write(which, y, (*images, kept, y, rows, channels, int(norm.relu)))
    return kept, count


def _moments(x: Any) -> Moments:
    """Return the moments of x, by a pass over it."""
    device, channels, parts = _cut(x)
    array = workspace(x, "moments", (parts.num, 2, channels), np.float32)
    if x.size:
        parts.launch(device, MOMENTS.of(x), x, array, x.size // channels, channels, parts.rows)
    return Moments(array, parts.rows)


def slabs_memory(y: Any, rows: int, keep: Keep) -> Any:
    """Return memory (slabs, 2, C) for the moments of slabs of ``rows`` pixels of y, before ``merged_slabs``."""
    shape = ceil_div(y.size // y.shape[-1], rows), 2, y.shape[-1]
    return keep("moments", shape, np.float32) if shape[0] <= MOST_SLABS else workspace(y, "slabs", shape, np.float32)


def merged_slabs(slabs: Any, num_pixels: int, rows: int, keep: Keep) -> Moments:
    """Return the moments of slabs of ``rows`` pixels, merged to fewer parts where they are many: then by a launch."""
    if len(slabs) <= MOST_SLABS:
        return Moments(slabs, rows)
    device: Any = device_of(slabs)
    channels = slabs.shape[-1]
    parts = cut_rows(len(slabs), channels, device.num_processors)
    array = keep("moments", (parts.num, 2, channels), np.float32)
    parts.launch(device, MERGE_SLABS, slabs, array, num_pixels, channels, rows, parts.rows)
    return Moments(array, rows * parts.rows)


@ops.batchnorm_evaluate.cuda
def batchnorm_evaluate(x: Any, norm: Norm, y: Any, residual: Any = None) -> bool:
    """One launch."""
    if not elements_fit(y):
        return False
    x, residual = fitting(x, y, "packed"), residual if residual is None else fitting(residual, y, "residual")
    vectors = norm.weight, norm.bias, norm.running_mean, norm.running_var
    channels = x.shape[3]
    which, images = (EVALUATE, (x,)) if residual is None else (EVALUATE_RESIDUAL, (x, residual))
    _write(which, y, (*images, *vectors, y, x.size // channels, channels, float(norm.eps), int(norm.relu)))
    return True


@ops.batchnorm_backward.cuda
def batchnorm_backward(
    dy: Any, x: Any, y: Any, norm: Norm, kept: Any, dw: Gradient, db: Gradient, dx: Any, masks: bool = False
) -> bool:
    """Put dw and db of this rank, and write dx."""
    if not elements_fit(dx) or (masks and not elements_fit(dx, y)):
        return False
    given, x, relu = fitting(dy, dx, "gradient"), fitting(x, dx, "packed"), int(y is not None and not masks)
    vectors, count = kept
    device, channels, parts = _cut(x)
    slopes = workspace(x, "slopes", (3, channels), np.float32)
    sums = workspace(x, "sums", (parts.num, 2, channels), np.float32)
    sizes = x.size // channels, channels, parts.rows
    if x.size and masks:
        parts.launch(device, SUMS_RESIDUAL.of(x), given, x, y, vectors, sums, *sizes)
        if given is not dy:
            np.copyto(dy, given)
    elif x.size:
        parts.launch(device, SUMS.of(x), given, x, vectors, relu, sums, *sizes)
    gradients, adds = (dw.array, db.array), (int(dw.accumulate), int(db.accumulate))
    if norm.sum_over_ranks is None:
        outs = norm.weight, *gradients, slopes
        run(
            device,
            SLOPES_OF_SUMS,
            32 * channels,
            (sums, vectors, *outs, x.size // channels, channels, parts.num, *adds),
        )
        _written(db, dw)
    else:
        total = workspace(x, "total", (2 * channels,), np.float64)
        run(device, GRADIENTS, 32 * channels, (sums, vectors, *gradients, total, channels, parts.num, *adds))
        _written(db, dw)
        norm.sum_over_ranks(total)
        divisor = np.array(max(1.0, count), np.float64)
        run(device, SLOPES, 32 * channels, (total, vectors, norm.weight, slopes, channels, divisor))
    _write(DX, dx, (given, x, vectors, relu, slopes, dx, x.size // channels, channels))
    return True


def _write(kernel: ElementKernel, out: Any, arguments: tuple[Any, ...]) -> None:
    """Launch a kernel that writes ``out`` in pieces of periods of rows (kernels/reductions/batchnorm.cu, Periods)."""
    channels, piece = out.shape[-1], piece_of(out)
    joined = piece // gcd(channels, piece)  # rows in a period
    periods = ceil_div(out.size // channels, joined)
    spread(device_of(out), kernel.of(out), channels * joined // piece, periods, arguments)


def _written(*gradients: Gradient) -> None:
    for gradient in gradients:
        gradient.written()


def _cut(x: Any) -> tuple[Any, int, Parts]:
    device: Any = device_of(x)
    channels = x.shape[-1]
    return device, channels, cut_rows(x.size // channels, channels, device.num_processors, piece_of(x))
