"""Ops whose kernels in C take other arguments: addresses for several arrays, numbers for a plan or a window."""

import numpy as np

from ...cpu_kernels import C
from .. import attention, conv2d, layernorm, linear, pool, reduce, rmsnorm, softmax_cross_entropy, update
from ..dropout import Masks, dropout_mask
from ..gradient import Gradient
from ..window import Window, padded

MOST_THREADS = 64  # of the thread pool, kernels/cpu/threads.c
NO_SLOT = np.empty(0, np.float32)


@attention.attention.cpu
def _attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    y: np.ndarray,
    log_sum_exp: np.ndarray,
    scale: float,
    causal: bool,
    lengths: np.ndarray | None,
    segments: np.ndarray | None = None,
    dropout: Masks | None = None,
    block: attention.Block | None = None,
) -> bool:
    where = _place(attention.place_of(block, q, k), dropout)
    return C.attention(q, k, v, y, log_sum_exp, scale, causal, lengths, segments, *where)


@attention.attention_dx.cpu
def _attention_dx(
    dy: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    log_sum_exp: np.ndarray,
    dq: np.ndarray,
    dk: np.ndarray,
    dv: np.ndarray,
    scale: float,
    causal: bool,
    lengths: np.ndarray | None,
    segments: np.ndarray | None = None,
    dropout: Masks | None = None,
    block: attention.Block | None = None,
    delta: np.ndarray | None = None,
    y: np.ndarray | None = None,
) -> bool:
    where = _place(attention.place_of(block, q, k), dropout)
    return C.attention_dx(dy, q, k, v, log_sum_exp, dq, dk, dv, scale, causal, lengths, segments, *where, delta)


def _place(place: attention.Place, masks: Masks | None) -> tuple[int, int, int, int, int, int, int, int, int, int]:
    """Return the numbers of the mask, the first of its rows instead of the first sample, and those of the block."""
    threshold, seed, layer, step, first = _numbers(masks)
    row = place.first_row + first * place.sample_apart
    return threshold, seed, layer, step, row, *place[:3], *place[4:]


@dropout_mask.cpu
def _dropout_mask(
    mask: np.ndarray, p: float, position: tuple[int, int, int, int], counters: np.ndarray | None = None
) -> bool:
    return C.dropout_mask(mask, *_numbers(Masks(p, position)))


def _numbers(masks: Masks | None) -> tuple[int, int, int, int, int]:
    """Return the threshold, seed, layer, step and first sample; zeros where nothing is dropped."""
    return (0, 0, 0, 0, 0) if masks is None else (masks.threshold, *masks.position)


@conv2d.conv2d.cpu
def _conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, plan: conv2d.Conv2dPlan) -> bool:
    return bool(getattr(C, plan.kernel)(x, w, b, y, *plan.numbers))


@conv2d.conv2d_dw.cpu
def _conv2d_dw(x: np.ndarray, dy: np.ndarray, dw: np.ndarray, plan: conv2d.Conv2dPlan, accumulate: bool) -> bool:
    return bool(getattr(C, f"{plan.kernel}_dw")(x, dy, dw, *plan.numbers, accumulate))


@conv2d.conv2d_dx.cpu
def _conv2d_dx(dy: np.ndarray, w: np.ndarray, dx: np.ndarray, plan: conv2d.Conv2dPlan) -> bool:
    return bool(getattr(C, f"{plan.kernel}_dx")(dy, w, dx, *plan.numbers))


@linear.linear_dx_relu.cpu
def _linear_dx_relu(dy: np.ndarray, w: np.ndarray, x: np.ndarray, dx: np.ndarray, db: Gradient | None) -> bool:
    if not (C.linear_dx(dy, w, dx) and C.relu_dx(x, dx, dx)):
        return False
    if db is not None:
        reduce.column_sum(dx, db.array, db.accumulate)
        db.written()
    return True


@pool.max_pool_argmax.cpu
def _max_pool_argmax(x: np.ndarray, window: Window, y: np.ndarray, argmax: np.ndarray, relu: bool) -> bool:
    return C.max_pool_argmax(padded(x, window, -np.inf), y, argmax, *window.kernel, *window.stride, relu)


@pool.max_pool_dx.cpu
def _max_pool_dx(argmax: np.ndarray, dy: np.ndarray, window: Window, dx: np.ndarray) -> bool:
    out = pool.padded_like(dx, window)
    if not C.max_pool_dx(argmax, dy, out, *window.kernel, *window.stride):
        return False
    pool.crop(out, window, dx)
    return True


@layernorm.layernorm_backward.cpu
def _layernorm_backward(
    dy: np.ndarray, z: np.ndarray, r: np.ndarray, w: np.ndarray, dw: Gradient, db: Gradient, dx: np.ndarray
) -> bool:
    if not C.layernorm_backward(dy, z, r, w, dw.array, db.array, dx, dw.accumulate, db.accumulate):
        return False
    db.written()
    dw.written()
    return True


@rmsnorm.rmsnorm_backward.cpu
def _rmsnorm_backward(
    dy: np.ndarray, x: np.ndarray, r: np.ndarray, w: np.ndarray, dw: Gradient, dx: np.ndarray
) -> bool:
    if not C.rmsnorm_backward(dy, x, r, w, dw.array, dx, dw.accumulate):
        return False
    dw.written()
    return True


@softmax_cross_entropy.cross_entropy.cpu
def _cross_entropy(
    logits: np.ndarray,
    targets: np.ndarray,
    smoothing: float,
    ignore_index: int,
    e: np.ndarray,
    sums: np.ndarray,
    class_weights: np.ndarray | None = None,
) -> tuple[list[float], object] | bool:
    if class_weights is not None:  # NumPy weighs what softmax_cross_entropy in C has computed
        return False
    totals = np.empty(3)
    if not C.cross_entropy(logits, targets, smoothing, ignore_index, e, sums, totals):
        return False
    return totals.tolist(), (sums.reshape(-1)[: len(targets)].reshape(-1, 1), targets, None, None)


@softmax_cross_entropy.cross_entropy_gradient.cpu
def _cross_entropy_gradient(
    logits: np.ndarray,
    targets: np.ndarray,
    smoothing: float,
    ignore_index: int,
    class_weights: np.ndarray | None = None,
    totals: np.ndarray | None = None,
    adds: bool = False,
) -> list[float] | bool:
    found = np.empty(3)
    done = C.cross_entropy_gradient(logits, targets, smoothing, ignore_index, class_weights, found)
    return found.tolist() if done else False


@softmax_cross_entropy.cross_entropy_dx.cpu
def _cross_entropy_dx(
    e: np.ndarray, state: tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None], smoothing: float
) -> bool:
    row_sums, targets, counted, weights = state
    return weights is None and C.softmax_cross_entropy_dx(e, row_sums, targets, smoothing, counted)


@softmax_cross_entropy.softmax_cross_entropy.cpu
def _softmax_cross_entropy(
    logits: np.ndarray, targets: np.ndarray, smoothing: float, e: np.ndarray, row_sums: np.ndarray
) -> np.ndarray | bool:
    losses = np.empty(len(targets), logits.dtype)
    return losses if C.softmax_cross_entropy(logits, targets, smoothing, e, row_sums, losses) else False


@reduce.sum_of_squares.cpu
def _sum_of_squares(x: np.ndarray) -> float | bool:
    squares = np.zeros(MOST_THREADS)
    return float(squares.sum()) if C.sum_of_squares(x, squares) else False


@reduce.sum_sources.cpu
def _sum_sources(target: np.ndarray, sources: reduce.Sources) -> float | bool:
    if target.dtype != np.float32 or not len(sources.addresses):
        return False
    squares = np.zeros(MOST_THREADS)
    done = C.sum_sources(sources.addresses, np.array([target.ctypes.data], np.int64), target.size, squares)
    return float(squares.sum()) if done else False


@update.sgd_update.cpu
def _sgd_update(
    w: np.ndarray, block: update.Block, scale: float, decay: float, momentum: float, nesterov: bool
) -> bool:
    v = block.slots[0] if block.slots else NO_SLOT
    return C.sgd_update(block.sources.addresses, w, v, block.bounds, scale, decay, momentum, nesterov)


@update.adagrad_update.cpu
def _adagrad_update(w: np.ndarray, block: update.Block, scale: float, decay: float, rate: float, eps: float) -> bool:
    return C.adagrad_update(block.sources.addresses, w, block.slots[0], block.bounds, scale, decay, rate, eps)


@update.adam_update.cpu
def _adam_update(w: np.ndarray, block: update.Block, step: update.AdamStep) -> bool:
    m, v = block.slots
    return C.adam_update(block.sources.addresses, w, m, v, block.bounds, *step)
