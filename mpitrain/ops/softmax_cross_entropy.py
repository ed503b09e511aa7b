"""Softmax and cross-entropy in one: loss = -sum_k q_k log p_k with p = softmax(logits).

Shapes: logits, p (M, K); targets (M,) integer, in [0, K); counted (M,) bool; all C-contiguous. Any M, also 0.
q is one-hot at the target, smoothed: q_k = (1 - smoothing) [k = target] + smoothing / K (Szegedy et al. 2015,
arXiv 1512.00567). With s = logits - max (Bridle 1990; the shift keeps exp in range),

    loss = log(sum_k exp s_k) - (1 - smoothing) s_target - smoothing mean_k s_k,      dlogits = p - q.
"""

import numpy as np

from .dispatch import op


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
