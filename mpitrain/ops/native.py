"""Which ops have a kernel in C (kernels/cpu), and how their arguments meet.

Kernels look at types, shapes and layouts themselves and return False where they do not cover them; then NumPy runs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import native
from . import activations, conv2d, update
from .product import Buffer

C: Any = native.library
MOST_THREADS = 64  # of the pool
NOTHING = np.empty(0, np.float32)


def _conv2d(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, plan: conv2d.Conv2dPlan, buffer: Buffer
) -> bool:
    return plan.native is not None and C.conv2d(x, w, b, y, *plan.native)


def _conv2d_dw(
    x: np.ndarray, dy: np.ndarray, dw: np.ndarray, plan: conv2d.Conv2dPlan, accumulate: bool, buffer: Buffer
) -> bool:
    return plan.native is not None and C.conv2d_dw(x, dy, dw, *plan.native, accumulate)


def _conv2d_dx(dy: np.ndarray, w: np.ndarray, dx: np.ndarray, plan: conv2d.Conv2dPlan, buffer: Buffer) -> bool:
    return plan.native is not None and C.conv2d_dx(dy, w, dx, *plan.native)


def _sum_sources(
    target: np.ndarray, sources: Sequence[np.ndarray], addresses: np.ndarray, scratch: np.ndarray
) -> float | bool:
    if target.dtype != np.float32 or len(addresses) != len(sources) + 1:
        return False
    squares = np.zeros(MOST_THREADS)
    done = C.sum_sources(addresses[:-1], addresses[-1:], target.size, squares)
    return float(squares.sum()) if done else False


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
    activations.relu.native(C.relu)
    activations.relu_dx.native(C.relu_dx)
    conv2d.conv2d.native(_conv2d)
    conv2d.conv2d_dw.native(_conv2d_dw)
    conv2d.conv2d_dx.native(_conv2d_dx)
    update.sum_sources.native(_sum_sources)
    update.sgd_update.native(_sgd_update)
    update.adam_update.native(_adam_update)
