"""Softmax and cross-entropy in one: loss = -sum_k q_k log p_k with p = softmax(logits).

Shapes: logits, p (M, K); targets (M,) integer, in [0, K); counted (M,) bool; all C-contiguous. Any M, also 0.
q is one-hot at the target, smoothed: q_k = (1 - smoothing) [k = target] + smoothing / K (Szegedy et al. 2015,
arXiv 1512.00567). With s = logits - max (Bridle 1990; the shift keeps exp in range),

    loss = log(sum_k exp s_k) - (1 - smoothing) s_target - smoothing mean_k s_k,      dlogits = p - q.
"""

from typing import Any

import numpy as np

from ..errors import UserError
from .dispatch import op


@op
def cross_entropy(
    logits: np.ndarray, targets: np.ndarray, smoothing: float, ignored: int, exponentials: np.ndarray, sums: np.ndarray
) -> tuple[Any, Any]:
    """Return the sums over rows (counted targets, loss, right ones) and what ``cross_entropy_dx`` needs.

    A target of ``ignored`` counts for nothing. ``exponentials`` (M, K) is written; ``sums`` (M + 1, 3) is scratch.
    On a GPU the sums stay there, as an array (3,), and bad targets make the loss NaN.

    Raises
    ------
    UserError
        If a target lies outside of [0, K).
    """
    targets, counted = check_classes(targets, logits.shape[-1], ignored)
    sums = sums.reshape(-1)[: len(targets)].reshape(-1, 1)
    losses = softmax_cross_entropy(logits, targets, smoothing, exponentials, sums)
    right = logits.argmax(axis=1) == targets
    kept = sums, targets, counted
    if counted is None:
        return (float(len(targets)), float(losses.sum(dtype=np.float64)), float(np.count_nonzero(right))), kept
    loss = float(losses.sum(dtype=np.float64, where=counted))
    return (float(np.count_nonzero(counted)), loss, float(np.count_nonzero(right & counted))), kept


@op
def cross_entropy_dx(exponentials: np.ndarray, kept: Any, smoothing: float) -> None:
    """Turn ``exponentials`` (what forward wrote) into dlogits."""
    sums, targets, counted = kept
    softmax_cross_entropy_dx(exponentials, sums, targets, smoothing, counted)


@op
def softmax_cross_entropy(
    logits: np.ndarray, targets: np.ndarray, smoothing: float, exponentials: np.ndarray, sums: np.ndarray
) -> np.ndarray:
    """Return the loss of each row (M,); write exp(s) to ``exponentials`` (M, K) and its row sums to ``sums`` (M, 1)."""
    np.maximum.reduce(logits, axis=1, keepdims=True, out=sums)
    np.subtract(logits, sums, out=exponentials)
    expected = (1 - smoothing) * exponentials[np.arange(len(targets)), targets]
    if smoothing:
        expected += smoothing * exponentials.mean(axis=1)
    np.exp(exponentials, out=exponentials)
    np.add.reduce(exponentials, axis=1, keepdims=True, out=sums)
    return np.log(sums[:, 0]) - expected


@op
def softmax_cross_entropy_dx(
    exponentials: np.ndarray, sums: np.ndarray, targets: np.ndarray, smoothing: float, counted: np.ndarray | None
) -> None:
    """Turn ``exponentials`` (what forward wrote) into dlogits = p - q, and into 0 in rows that are not counted."""
    np.divide(exponentials, sums, out=exponentials)
    exponentials[np.arange(len(targets)), targets] -= 1 - smoothing
    if smoothing:
        exponentials -= smoothing / exponentials.shape[1]
    if counted is not None:
        exponentials *= counted[:, None]


def check_classes(targets: np.ndarray, num_classes: int, ignored: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return targets that are all in [0, K), and which of them count (None for all)."""
    low, high = targets.min(initial=0), targets.max(initial=0)
    if low >= 0 and high < num_classes and ignored < 0:
        return targets, None  # the usual case, decided without looking at each target
    counted = targets != ignored
    targets = np.where(counted, targets, 0)
    for found in (targets.min(initial=0), targets.max(initial=0)):
        if not 0 <= found < num_classes:
            raise UserError(
                f"a target is {found}, but the model has {num_classes} outputs: "
                f"targets must lie between 0 and {num_classes - 1}"
            )
    return targets, counted
