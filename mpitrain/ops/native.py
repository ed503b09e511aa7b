"""Which ops have a kernel in C (kernels/cpu), and how their arguments meet.

Kernels look at types, shapes and layouts themselves and return False where they do not cover them; then NumPy runs.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import native
from . import (
    activations,
    attention,
    batchnorm_passes,
    conv2d,
    embedding,
    gelu,
    layernorm,
    linear,
    pool,
    softmax,
    softmax_cross_entropy,
    update,
)
from .product import Buffer
from .window import Window

C: Any = native.kernels
MOST_THREADS = 64  # of the pool
NOTHING = np.empty(0, np.float32)


def _conv2d(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, plan: conv2d.Conv2dPlan, buffer: Buffer
) -> bool:
    return getattr(C, plan.kernel)(x, w, b, y, *plan.native)


def _conv2d_dw(
    x: np.ndarray, dy: np.ndarray, dw: np.ndarray, plan: conv2d.Conv2dPlan, accumulate: bool, buffer: Buffer
) -> bool:
    return getattr(C, f"{plan.kernel}_dw")(x, dy, dw, *plan.native, accumulate)


def _conv2d_dx(dy: np.ndarray, w: np.ndarray, dx: np.ndarray, plan: conv2d.Conv2dPlan, buffer: Buffer) -> bool:
    return getattr(C, f"{plan.kernel}_dx")(dy, w, dx, *plan.native)


def _layernorm_dw(dy: np.ndarray, z: np.ndarray) -> np.ndarray | bool:
    both = np.empty((2, dy.shape[1]), np.float32)
    return both if C.layernorm_dw(dy, z, both) else False


def _max_pool_winner(
    padded: np.ndarray,
    window: Window,
    y: np.ndarray,
    winner: np.ndarray,
    pixels: np.ndarray,
    number: np.ndarray,
    relu: bool = False,
) -> bool:
    return C.max_pool_winner(padded, y, winner, *window.kernel, *window.stride, relu)


def _max_pool_dx(winner: np.ndarray, dy: np.ndarray, window: Window, dx: np.ndarray, part: np.ndarray) -> bool:
    return C.max_pool_dx(winner, dy, dx, *window.kernel, *window.stride)


def _linear(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, relu: bool = False) -> bool:
    return C.linear(x, w, b, y, relu)


def _linear_dw(x: np.ndarray, dy: np.ndarray, dw: np.ndarray, scratch: np.ndarray | None) -> bool:
    return C.linear_dw(x, dy, dw, scratch is not None)


def _cross_entropy(
    logits: np.ndarray, targets: np.ndarray, smoothing: float, ignored: int, exponentials: np.ndarray, sums: np.ndarray
) -> tuple[list[float], object] | bool:
    totals = np.empty(3)
    if not C.cross_entropy(logits, targets, smoothing, ignored, exponentials, sums, totals):
        return False
    return totals.tolist(), (sums.reshape(-1)[: len(targets)].reshape(-1, 1), targets, None)


def _softmax_cross_entropy(
    logits: np.ndarray, targets: np.ndarray, smoothing: float, exponentials: np.ndarray, sums: np.ndarray
) -> np.ndarray | bool:
    losses = np.empty(len(targets), logits.dtype)
    return losses if C.softmax_cross_entropy(logits, targets, smoothing, exponentials, sums, losses) else False


def _without_buffer(kernel: Callable[..., bool]) -> Callable[..., bool]:
    """Return ``kernel`` for an op whose last argument is memory that only NumPy needs."""
    return lambda *arguments: kernel(*arguments[:-1])


def _sum_sources(
    target: np.ndarray, sources: Sequence[np.ndarray], addresses: np.ndarray, scratch: np.ndarray
) -> float | bool:
    if target.dtype != np.float32 or len(addresses) != len(sources) + 1:
        return False
    squares = np.zeros(MOST_THREADS)
    done = C.sum_sources(addresses[:-1], addresses[-1:], target.size, squares)
    return float(squares.sum()) if done else False


def _sum_of_squares(flat: np.ndarray) -> float | bool:
    squares = np.zeros(MOST_THREADS)
    return float(squares.sum()) if C.sum_of_squares(flat, squares) else False


def _sgd_update(w: np.ndarray, b: update.Block, scale: float, decay: float, momentum: float, nesterov: bool) -> bool:
    v = b.slots[0] if b.slots else NOTHING
    return C.sgd_update(b.addresses, w, v, b.bounds, scale, decay, momentum, nesterov)


def _adam_update(
    w: np.ndarray,
    b: update.Block,
    scale: float,
    decay: float,
    shrink: float,
    betas: tuple[float, float],
    rate: float,
    eps: float,
) -> bool:
    return C.adam_update(b.addresses, w, *b.slots, b.bounds, scale, decay, shrink, *betas, rate, eps)


if C is not None:
    activations.add_relu.native(C.add_relu)
    activations.add_relu_dx.native(C.add_relu_dx)
    activations.relu.native(C.relu)
    activations.relu_dx.native(C.relu_dx)
    activations.sigmoid.native(C.sigmoid)
    activations.sigmoid_dx.native(_without_buffer(C.sigmoid_dx))
    activations.silu.native(C.silu)
    activations.silu_dx.native(_without_buffer(C.silu_dx))
    activations.tanh_dx.native(_without_buffer(C.tanh_dx))
    attention.attention.native(_without_buffer(C.attention))
    attention.attention_dx.native(_without_buffer(C.attention_dx))
    batchnorm_passes.batchnorm.native(C.batchnorm)
    batchnorm_passes.batchnorm_dx.native(_without_buffer(C.batchnorm_dx))
    batchnorm_passes.batchnorm_statistics.native(_without_buffer(C.batchnorm_statistics))
    batchnorm_passes.batchnorm_sums.native(_without_buffer(C.batchnorm_sums))
    conv2d.conv2d.native(_conv2d)
    conv2d.conv2d_dw.native(_conv2d_dw)
    conv2d.conv2d_dx.native(_conv2d_dx)
    embedding.embedding.native(C.embedding)
    embedding.embedding_dw.native(_without_buffer(C.embedding_dw))
    gelu.gelu.native(C.gelu)
    gelu.gelu_tanh.native(C.gelu_tanh)
    gelu.gelu_dx.native(C.gelu_dx)
    layernorm.layernorm.native(C.layernorm)
    layernorm.layernorm_dw.native(_layernorm_dw)
    layernorm.layernorm_dx.native(C.layernorm_dx)
    linear.linear.native(_linear)
    linear.linear_dw.native(_linear_dw)
    linear.linear_dx.native(C.linear_dx)
    linear.column_sum.native(C.column_sum)
    pool.max_pool_winner.native(_max_pool_winner)
    pool.max_pool_dx.native(_max_pool_dx)
    softmax.softmax.native(C.softmax)
    softmax.softmax_dx.native(C.softmax_dx)
    softmax_cross_entropy.cross_entropy.native(_cross_entropy)
    softmax_cross_entropy.softmax_cross_entropy.native(_softmax_cross_entropy)
    softmax_cross_entropy.softmax_cross_entropy_dx.native(C.softmax_cross_entropy_dx)
    update.sum_of_squares.native(_sum_of_squares)
    update.sum_sources.native(_sum_sources)
    update.sgd_update.native(_sgd_update)
    update.adam_update.native(_adam_update)
