"""Softmax and cross-entropy in one: loss = -sum_k q_k log p_k with p = softmax(logits).

Shapes: logits, p (M, K); targets (M,) integer, in [0, K); counted (M,) bool; all C-contiguous. Any M, also 0.
q is one-hot at the target, smoothed: q_k = (1 - smoothing) [k = target] + smoothing / K (Szegedy et al. 2015,
arXiv 1512.00567). With s = logits - max (Bridle 1990; the shift keeps exp in range) and e = exp(s),

    loss = log(sum_k e_k) - (1 - smoothing) s_target - smoothing mean_k s_k,      dlogits = p - q,  p = e / sum_k e_k.

With class weights (K,) float32, the loss and the gradient of a row are multiplied by the weight of its target.

Targets may be probabilities (M, K) as well, as those of mixed samples: see ``soft_cross_entropy``.
"""

from typing import Any

import numpy as np

from ..errors import UserError
from .dispatch import op


@op
def cross_entropy(
    logits: np.ndarray,
    targets: np.ndarray,
    smoothing: float,
    ignore_index: int,
    e: np.ndarray,
    sums: np.ndarray,
    class_weights: np.ndarray | None = None,
) -> tuple[Any, Any]:
    """Return the sums over rows (counted targets, loss, correct ones) and the state that ``cross_entropy_dx`` needs.

    Targets equal to ``ignore_index`` count for nothing. Class weights change the loss alone. ``e`` (M, K) and
    ``sums`` (M + 1, 3) are written and must last until backward. On a GPU the result stays there as an array (3,), and
    bad targets make the loss NaN.

    Raises
    ------
    UserError
        If a target is outside of [0, K).
    """
    targets, counted = check_classes(targets, logits.shape[-1], ignore_index)
    row_sums = sums.reshape(-1)[: len(targets)].reshape(-1, 1)
    losses = softmax_cross_entropy(logits, targets, smoothing, e, row_sums)
    correct = logits.argmax(axis=1) == targets
    weights = None if class_weights is None else class_weights[targets]
    if weights is not None:
        losses *= weights
    return totals_of(losses, correct, counted), (row_sums, targets, counted, weights)


@op
def cross_entropy_dx(e: np.ndarray, state: Any, smoothing: float) -> None:
    """Turn ``e``, as written by ``cross_entropy``, into dlogits."""
    row_sums, targets, counted, weights = state
    softmax_cross_entropy_dx(e, row_sums, targets, smoothing, counted)
    if weights is not None:
        e *= weights[:, None]


@op
def cross_entropy_gradient(
    logits: np.ndarray,
    targets: np.ndarray,
    smoothing: float,
    ignore_index: int,
    class_weights: np.ndarray | None = None,
    totals: np.ndarray | None = None,
    adds: bool = False,
) -> Any:
    """Return the sums over rows as ``cross_entropy``, and turn the logits into dlogits.

    On a GPU, rows of logits may be apart, and the sums are written to ``totals`` (3,), or added to it.

    Raises
    ------
    UserError
        If a target is outside of [0, K).
    """
    targets, counted = check_classes(targets, logits.shape[-1], ignore_index)
    correct = logits.argmax(axis=1) == targets
    row_sums = np.empty((len(targets), 1), logits.dtype)
    losses = softmax_cross_entropy.numpy(logits, targets, smoothing, logits, row_sums)
    softmax_cross_entropy_dx.numpy(logits, row_sums, targets, smoothing, counted)
    if class_weights is not None:
        weights = class_weights[targets]
        losses *= weights
        logits *= weights[:, None]
    return totals_of(losses, correct, counted)


@op
def soft_cross_entropy(
    logits: np.ndarray,
    targets: np.ndarray,
    smoothing: float,
    dlogits: np.ndarray,
    class_weights: np.ndarray | None = None,
) -> Any:
    """Return the sums over rows (rows, loss, correct) for probabilities of classes, and write dlogits (M, K).

    The loss of a row is the mean of the losses of all classes, weighted by their ``targets`` t (M, K), which add up to
    1: with class weights w (or 1), W = sum_k t_k w_k and q_k = (1 - smoothing) t_k w_k + smoothing W / K,

        loss = -sum_k q_k log p_k,      dlogits = W p - q.

    A row counts as correct by the probability of the class with the largest logit: a mixture of two classes by the
    share of that class. On a GPU the sums stay there as an array (3,). ``dlogits`` may be ``logits``.
    """
    rows, classes = logits.shape
    found = np.take_along_axis(targets, logits.argmax(axis=1)[:, None], axis=1)
    weighted = targets if class_weights is None else targets * class_weights
    total = weighted.sum(axis=1, keepdims=True)  # W
    q = (1 - smoothing) * weighted + (smoothing / classes) * total
    np.subtract(logits, logits.max(axis=1, keepdims=True), out=dlogits)
    expected = (q * dlogits).sum(axis=1, keepdims=True)
    np.exp(dlogits, out=dlogits)
    sums = dlogits.sum(axis=1, keepdims=True)
    losses = total * np.log(sums) - expected
    dlogits *= total / sums
    dlogits -= q
    if isinstance(logits, np.ndarray):
        return float(rows), float(losses.sum(dtype=np.float64)), float(found.sum(dtype=np.float64))
    counts = np.ones_like(losses)
    return np.concatenate([counts, losses, found.astype(losses.dtype)], axis=1).sum(axis=0)


def totals_of(losses: np.ndarray, correct: np.ndarray, counted: np.ndarray | None) -> tuple[float, float, float]:
    """Return the sums over rows (counted targets, loss, correct ones); all rows count where ``counted`` is None."""
    if counted is None:
        return float(len(losses)), float(losses.sum(dtype=np.float64)), float(np.count_nonzero(correct))
    loss = float(losses.sum(dtype=np.float64, where=counted))
    return float(np.count_nonzero(counted)), loss, float(np.count_nonzero(correct & counted))


@op
def softmax_cross_entropy(
    logits: np.ndarray, targets: np.ndarray, smoothing: float, e: np.ndarray, row_sums: np.ndarray
) -> np.ndarray:
    """Return the loss of each row (M,); write e = exp(s) (M, K) and its row sums (M, 1)."""
    np.maximum.reduce(logits, axis=1, keepdims=True, out=row_sums)
    np.subtract(logits, row_sums, out=e)
    expected = (1 - smoothing) * e[np.arange(len(targets)), targets]
    if smoothing:
        expected += smoothing * e.mean(axis=1)
    np.exp(e, out=e)
    np.add.reduce(e, axis=1, keepdims=True, out=row_sums)
    losses: np.ndarray = np.log(row_sums[:, 0]) - expected
    return losses


@op
def softmax_cross_entropy_dx(
    e: np.ndarray, row_sums: np.ndarray, targets: np.ndarray, smoothing: float, counted: np.ndarray | None
) -> None:
    """Turn ``e`` into dlogits = p - q, and into 0 in rows that are not counted."""
    np.divide(e, row_sums, out=e)
    e[np.arange(len(targets)), targets] -= 1 - smoothing
    if smoothing:
        e -= smoothing / e.shape[1]
    if counted is not None:
        e *= counted[:, None]


def check_classes(targets: np.ndarray, num_classes: int, ignore_index: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return targets that are all in [0, K), and a mask of those that count (None for all).

    Raises
    ------
    UserError
        If a target that counts is outside of [0, K).
    """
    low, high = targets.min(initial=0), targets.max(initial=0)
    if low >= 0 and high < num_classes and ignore_index < 0:
        return targets, None  # the usual case, decided without a mask
    counted = targets != ignore_index
    targets = np.where(counted, targets, 0)
    for found in (targets.min(initial=0), targets.max(initial=0)):
        if not 0 <= found < num_classes:
            raise UserError(
                f"a target is {found}, but the model has {num_classes} outputs: "
                f"targets must lie between 0 and {num_classes - 1}"
            )
    return targets, counted
